"""What happens to the core. Each is given to ``RaftCore.step`` by the shell."""

from collections.abc import Sequence

import msgspec

from raftlog.base.entry import Buffer, Entry, EntryKind, LogEnd
from raftlog.base.ids import Index, NodeId, ReplicaId, WriteNumber
from raftlog.raft.changes import MemberChange
from raftlog.raft.rpcs import Message


class Tick(msgspec.Struct, frozen=True, gc=False):
    """``count`` ticks have passed (ruling 36)."""

    count: int


class Receive(msgspec.Struct, frozen=True, gc=False):
    """A message arrived from ``sender``, as its connection's hello proved it."""

    sender: ReplicaId
    message: Message


class Heard(msgspec.Struct, frozen=True, gc=False):
    """Bytes of entries arrived from ``sender``, not yet a whole message (ruling 32)."""

    sender: ReplicaId


class Propose(msgspec.Struct, frozen=True, gc=False):
    """Append these bodies, one entry each, if this replica leads.

    A body is the sequence of its parts; they are joined once, into the frame.
    """

    bodies: Sequence[Sequence[Buffer]]
    kind: EntryKind = EntryKind.COMMANDS


class Durable(msgspec.Struct, frozen=True, gc=False):
    """Every write up to and including ``write`` is on disk (ruling 4)."""

    write: WriteNumber


class Applied(msgspec.Struct, frozen=True, gc=False):
    """The state machine has applied everything through ``index``."""

    index: Index


class EntriesLoaded(msgspec.Struct, frozen=True, gc=False):
    """The answer to ``LoadEntries``: consecutive entries from ``first``, at least one.

    Empty when they could not be read here (a faulty entry): the core asks
    again later.
    """

    to: NodeId
    first: Index
    entries: tuple[Entry, ...]


class Read(msgspec.Struct, frozen=True, gc=False):
    """A linearizable read waits under ``token``, unique for the life of the core."""

    token: int


class ForgetRead(msgspec.Struct, frozen=True, gc=False):
    """Nobody waits for the read ``token`` any more."""

    token: int


class ConnectionLost(msgspec.Struct, frozen=True, gc=False):
    """The connection to ``node`` was reset and no hello came back (ruling 13). Only a hint."""

    node: NodeId


class Transfer(msgspec.Struct, frozen=True, gc=False):
    """Hand leadership to ``target``, or to the best follower if None."""

    target: NodeId | None = None


class StandAside(msgspec.Struct, frozen=True, gc=False):
    """Lead only if no other voter can, until told otherwise."""

    is_aside: bool


class ChangeMembers(msgspec.Struct, frozen=True, gc=False):
    """Change who the members are, if this replica leads and may do so now (Raft §4)."""

    change: MemberChange


class Campaign(msgspec.Struct, frozen=True, gc=False):
    """Start an election as if the timer had run out (tests)."""


class SnapshotFetched(msgspec.Struct, frozen=True, gc=False):
    """The leader's snapshot is on this disk, and its log begins behind ``base``.

    ``configuration`` is one that is committed, of there or later: who the members are.
    """

    base: LogEnd
    configuration: bytes


class Trimmed(msgspec.Struct, frozen=True, gc=False):
    """The store has let go of the log up to ``start``, which is applied and in a snapshot."""

    start: LogEnd


class FaultyEntries(msgspec.Struct, frozen=True, gc=False):
    """How many entries of this replica's log are damaged now (ruling 20)."""

    count: int


Event = (
    Tick
    | Receive
    | Heard
    | Propose
    | Durable
    | Applied
    | EntriesLoaded
    | Read
    | ForgetRead
    | ConnectionLost
    | Transfer
    | StandAside
    | ChangeMembers
    | Campaign
    | FaultyEntries
    | SnapshotFetched
    | Trimmed
)
"""The closed union of events."""
