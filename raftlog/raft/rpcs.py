"""What replicas say to each other. One message, one type.

Who sent a message and to whom is not in it: the shell knows that from the
connection's hello and gives it to the core beside the message. All messages
are one-way; a reply is a message like any other, may be lost, repeated or
late, and therefore names what it answers.
"""

from typing import Final

import msgspec

from raftlog.base.entry import Buffer, Entry
from raftlog.base.ids import Index, Term


class PreVoteRequest(msgspec.Struct, frozen=True, gc=False):
    """Would you vote for me in ``term``, the one after mine? (Raft §9.6)."""

    term: Term
    last_term: Term
    last_index: Index


class PreVoteReply(msgspec.Struct, frozen=True, gc=False):
    """The answer: ``term`` is the proposed one if granted, else the voter's own."""

    term: Term
    granted: bool


class VoteRequest(msgspec.Struct, frozen=True, gc=False):
    """Vote for me in ``term`` (Raft §5.2).

    ``transfer`` is set when the leader asked for this election (§3.10): then
    voters who hear that leader answer all the same.
    """

    term: Term
    last_term: Term
    last_index: Index
    transfer: bool


class VoteReply(msgspec.Struct, frozen=True, gc=False):
    """A vote. Sent only after term and vote are durable (R2).

    ``wall_ms`` is the sender's wall clock: a leader needs those of a majority
    before it stamps anything (ruling 8). Put in by the shell.
    """

    term: Term
    granted: bool
    wall_ms: int = 0


class AppendRequest(msgspec.Struct, frozen=True, gc=False):
    """Entries after ``previous``, and how far the leader has committed (§5.3)."""

    term: Term
    previous_term: Term
    previous_index: Index
    commit: Index
    entries: tuple[Entry, ...]


class AppendAccepted(msgspec.Struct, frozen=True, gc=False):
    """My log is durable and equal to yours through ``matched`` (a promise, R2).

    ``unit`` is the last write unit on the sender's disk. The core knows none: it
    is put in by the shell and remembered at the other side's gate, which refuses
    a directory that is older than what it has promised (ruling 16).
    """

    term: Term
    matched: Index
    unit: int = 0


class AppendRejected(msgspec.Struct, frozen=True, gc=False):
    """I have no entry ``rejected`` with the term that you named.

    ``hint`` names the last of my entries that could still match: the highest
    entry at or below ``rejected`` whose term is not above the one you named.
    """

    term: Term
    rejected: Index
    hint_term: Term
    hint_index: Index


class Heartbeat(msgspec.Struct, frozen=True, gc=False):
    """I lead. ``commit`` never runs ahead of what the follower is known to have.

    ``chain`` is the chain value of my entry ``commit``, -1 if I do not have it at hand: who has
    another one there has another log. It can't be so; that it never is, is looked at.

    ``round`` counts heartbeat rounds; a majority's answer to one round proves
    that the leader led when the round began (ReadIndex, check-quorum).
    """

    term: Term
    commit: Index
    round: int
    chain: int = -1


class HeartbeatReply(msgspec.Struct, frozen=True, gc=False):
    """I follow you in ``term``, and ``round`` reached me.

    ``is_aside``: do not hand over to me if another one can lead.

    ``disk`` is how full the sender's disk is (``base/space.py``), ``wall_ms`` its wall
    clock (ruling 8). The core does not know: they are put in by the shell, and read by
    the leader's.

    ``pledged_ms``: for so long, from when the round reached me, I help nobody else to lead
    (``raft/lease.py``).
    """

    term: Term
    round: int
    disk: int = 0
    wall_ms: int = 0
    pledged_ms: int = 0
    is_aside: bool = False


class TimeoutNow(msgspec.Struct, frozen=True, gc=False):
    """Start an election at once: the leader hands over (Raft §3.10)."""

    term: Term


class SnapshotOffer(msgspec.Struct, frozen=True, gc=False):
    """I cannot send you your next entry: my log begins behind ``start``. Fetch a snapshot (§7).

    Repeated with every round until the follower acknowledges something behind ``start``.
    """

    term: Term
    start: Index


class ReadIndexRequest(msgspec.Struct, frozen=True, gc=False):
    """A follower asks where a linearizable read may be served (§6.4)."""

    term: Term
    token: int


class ReadIndexReply(msgspec.Struct, frozen=True, gc=False):
    """Serve the read ``token`` once you have applied ``index``."""

    term: Term
    token: int
    index: Index


Message = (
    PreVoteRequest
    | PreVoteReply
    | VoteRequest
    | VoteReply
    | AppendRequest
    | AppendAccepted
    | AppendRejected
    | Heartbeat
    | HeartbeatReply
    | TimeoutNow
    | SnapshotOffer
    | ReadIndexRequest
    | ReadIndexReply
)
"""The closed union of what the core sends and receives."""

APPENDING: Final = (AppendRequest, AppendAccepted)
"""What is said for every append."""


class RepairRequest(msgspec.Struct, frozen=True, gc=False):
    """Send me your entries ``first`` to ``last``: mine are damaged (ruling 20)."""

    first: Index
    last: Index


class RepairReply(msgspec.Struct, frozen=True, gc=False):
    """What I have of them, from the first one on."""

    entries: tuple[Entry, ...]


RepairMessage = RepairRequest | RepairReply
"""Said between replicas beside the core: it needs no leader and no term."""


class InstallRequest(msgspec.Struct, frozen=True, gc=False):
    """Send me the bytes of a file of a snapshot from ``offset`` on.

    File 0 is the manifest; with ``snapshot`` 0 that of the newest one. Whoever has it answers.
    """

    snapshot: Index
    file: int
    offset: int


class InstallChunk(msgspec.Struct, frozen=True, gc=False):
    """Some of the ``size`` bytes of a file, with their crc32c. None, and size 0: I have it not."""

    snapshot: Index
    file: int
    offset: int
    size: int
    checksum: int
    data: Buffer


InstallMessage = InstallRequest | InstallChunk
"""Said between replicas beside the core: files that cannot harm wherever they end up."""


class FileRequest(msgspec.Struct, frozen=True, gc=False):
    """Send me some bytes of a file that all replicas have alike: mine is damaged."""

    kind: int
    index: Index
    offset: int


class FileChunk(msgspec.Struct, frozen=True, gc=False):
    """Bytes of a file of ``size`` bytes; a size of 0 says that I have no such file."""

    kind: int
    index: Index
    offset: int
    size: int
    crc: int
    data: bytes


FileMessage = FileRequest | FileChunk


class DivergenceAlarm(msgspec.Struct, frozen=True, gc=False):
    """My committed entry ``index`` is not yours: I stop. Somebody has to look at this."""

    index: Index


BesideMessage = RepairMessage | FileMessage | DivergenceAlarm
BESIDE: Final = (RepairRequest, RepairReply, FileRequest, FileChunk, DivergenceAlarm)
"""What the core never sees."""

PeerMessage = Message | BesideMessage | InstallMessage
"""Everything that one replica can send to another."""
