"""What one step asks of the shell.

The order in which a shell performs the fields is the safety argument:

1. ``writes`` go to the log writer, in their order, which never changes;
2. ``messages`` leave at once if ``after`` is 0, else not before the write
   ``after`` is durable: a promise is durable before it is given (R2);
3. ``commit`` lets the applier run up to that index;
4. the rest informs.

An effect never reports success: that comes back as an event.
"""

from enum import Enum

import msgspec

from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Index, NodeId, Term, WriteNumber
from raftlog.base.membership import Membership
from raftlog.base.writes import Write
from raftlog.raft.rpcs import Message


class Role(Enum):
    """What a replica is in its term."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send ``message`` to ``to`` once the write ``after`` is durable (0: at once)."""

    to: NodeId
    message: Message
    after: WriteNumber


class LoadEntries(msgspec.Struct, frozen=True, gc=False):
    """Read entries from ``first`` on that are no longer in memory, for follower ``to``.

    Answer with ``EntriesLoaded``; as many as fit in ``bytes_max``, at least one.
    """

    to: NodeId
    first: Index
    last: Index
    bytes_max: int


class RoleChanged(msgspec.Struct, frozen=True, gc=False):
    """This replica's role, term or known leader has changed."""

    role: Role
    term: Term
    leader: NodeId | None


class ReadReady(msgspec.Struct, frozen=True, gc=False):
    """The read ``token`` may be served once ``index`` is applied."""

    token: int
    index: Index


class ReadFailed(msgspec.Struct, frozen=True, gc=False):
    """The read ``token`` cannot be confirmed: leadership was lost, or none is known."""

    token: int


class Proposed(msgspec.Struct, frozen=True, gc=False):
    """The bodies of a ``Propose`` became entries ``first``.. of ``term``."""

    term: Term
    first: Index
    count: int


class ProposalRefused(Enum):
    """Why a ``Propose`` was not appended; it never happened (ruling 22)."""

    NOT_LEADER = "not leader"
    TRANSFERRING = "leadership is being handed over"
    THROTTLED = "too many uncommitted bytes"


class TransferEnded(Enum):
    """How a ``Transfer`` ended."""

    DONE = "done"
    REFUSED = "refused"
    TIMED_OUT = "timed out"


class InForce(msgspec.Struct, frozen=True):
    """The configuration that this replica obeys, and whether it can still be truncated."""

    index: Index
    membership: Membership
    committed: bool


class Divergence(msgspec.Struct, frozen=True, gc=False):
    """A committed entry that has another chain value here than at the leader ``leader``."""

    leader: NodeId
    index: Index
    ours: int
    theirs: int


class Effects(msgspec.Struct):
    """Everything that one step asks for."""

    writes: list[Write] = []
    messages: list[Send] = []
    loads: list[LoadEntries] = []
    commit: Index | None = None
    proposed: Proposed | None = None
    refused: ProposalRefused | None = None
    role: RoleChanged | None = None
    reads: list[ReadReady] = []
    failed_reads: list[ReadFailed] = []
    transfer: TransferEnded | None = None
    change: Index | RaftlogError | None = None
    """Of a ``ChangeMembers``: after which entry it is done once a configuration that is not joint
    is committed there or later (0: all is so already), or why it was refused."""
    in_force: InForce | None = None
    """Another configuration is in force, or the one that is was committed."""
    divergence: Divergence | None = None
