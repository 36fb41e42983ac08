"""What the use-cases need: a shard's replica below, a client's request above.

``node.Replica`` and ``transport.server.Request`` are the implementations; tests
bring their own. Everything is called on the replica's event loop.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from google.protobuf.message import Message

from raftlog.base.entry import Buffer, Entry
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Index, NodeId, ReplicaId, ShardId, Term
from raftlog.base.membership import Membership
from raftlog.base.space import DiskLevel
from raftlog.broker.index import Postings, RangeSummary
from raftlog.storage.span import Place

OnOutcome = Callable[[object, Term, Index], None]
"""Called once, on the loop: the machine's outcome or a ``RaftlogError`` (ruling 22)."""

OnReady = Callable[[RaftlogError | None], None]
"""Called once, on the loop: None when a linearizable read may look now, else why not."""


class ShardReplica(Protocol):
    """One replica of a shard."""

    @property
    def id(self) -> ReplicaId:
        """Which one it is."""

    @property
    def leads(self) -> bool:
        """Whether it believes that it leads."""

    @property
    def leader(self) -> NodeId | None:
        """Who leads, as far as it knows."""

    @property
    def membership(self) -> Membership:
        """The configuration in force."""

    @property
    def disk_level(self) -> DiskLevel:
        """What the disks of a majority can still take."""

    def propose(
        self, command_type: int, parts: Sequence[Buffer], on_outcome: OnOutcome, /
    ) -> None:
        """Append one command; a refusal is told before this returns."""

    @property
    def is_settled(self) -> bool:
        """Whether it leads and has applied everything before its term: it knows the level."""

    def raise_level(self, level: int, /) -> None:
        """Stamp entries with no lower feature level, while it leads (ruling 15)."""

    def read_index(self, on_ready: OnReady, /) -> None:
        """Wait until what is applied here includes everything committed before this call."""

    def tail(self, index: Index, /) -> Entry | None:
        """Return the entry if it is in memory. What is applied and not here is durable here."""

    def faulty(self, index: Index, /) -> None:
        """Bytes of a stored entry turned out bad: mark it, and have a peer repair it."""

    def on_repaired(self, listener: Callable[[], None], /) -> None:
        """Call ``listener`` whenever the number of damaged entries has changed."""

    def on_applied(self, listener: Callable[[Index], None], /) -> None:
        """Call ``listener`` whenever more was applied, once per turn of apply."""


OnBodies = Callable[[Sequence[Buffer], RaftlogError | None], None]
"""Called once, on the loop: batches from the first asked for, at least one, or why not."""

OnPostings = Callable[[Postings | None, RaftlogError | None], None]
"""Called once, on the loop: the postings of one queue in a range, or why not."""


class StoredBodies(Protocol):
    """Batches in the files of the log."""

    reads: int

    def read(self, places: Sequence[Place], done: OnBodies, /) -> None:
        """Read the batches at ``places``, or the first few; all are durable here.

        ``done`` is called before this returns if nothing had to be waited for.
        """


class StoredRanges(Protocol):
    """Sealed index ranges in their files."""

    def load(self, summary: RangeSummary, queue: int, done: OnPostings, /) -> None:
        """Find the postings of a queue that the range has some of; ``done`` as above."""


OnEntries = Callable[[Sequence[Entry], Exception | None], None]
"""Called once, on the loop: entries from the first asked for, or none and perhaps why."""


class StoredEntries(Protocol):
    """Whole entries in the files of the log."""

    def read(self, first: Index, last: Index, done: OnEntries, /) -> None:
        """Read entries from ``first`` on, at least that one; none: the log has it no more."""


class ClientRequest(Protocol):
    """One request of a client, to be answered once (``transport.server.Request``)."""

    shard: ShardId
    message: Message
    payload: Buffer
    on_cancelled: Callable[[], None] | None
    """Set it to be told, once, that the answer is not wanted any more."""

    def reply(self, message: Message, payload: Sequence[Buffer] = ...) -> None:
        """Answer; the buffers must not change any more."""

    def fail(self, error: RaftlogError) -> None:
        """Answer that it failed."""
