"""What a replica needs from the world, as narrow protocols.

The asyncio node and the chaos simulator implement the same ports round the
same ``Replica``. Every method is called on the one event loop (or the
simulator's single thread), and every callback is called there too, never from
within the call that registered it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from raftlog.base.clock import Clock
from raftlog.base.entry import Entry
from raftlog.base.ids import Index, NodeId, ReplicaId
from raftlog.raft.rpcs import InstallMessage, PeerMessage

T = TypeVar("T")


class Timer(Protocol):
    """A call that was scheduled."""

    def cancel(self) -> None:
        """Forget the call; harmless when it has been made."""


class Scheduler(Clock, Protocol):
    """Time and the turns of the loop."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Make ``call`` in the next turn of the loop."""

    def defer(self, call: Callable[[], None]) -> None:
        """Make ``call`` when the current event has been handled, or in the next turn."""

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> Timer:
        """Make ``call`` after ``delay_ns``."""


class Plan(Protocol):
    """Blocking work on files that a store has planned. Performed exactly once."""

    def perform(self) -> None:
        """Do it. Returning means durable.

        Raises:
            StorageFailed: An operation failed; the node must stop.
        """


class Writer(Protocol):
    """The log-writer thread of one disk. Plans are performed one by one, in order."""

    def submit(self, plan: Plan, done: Callable[[Exception | None], None]) -> None:
        """Perform ``plan`` off the loop, then call ``done`` on the loop."""


class Reader(Protocol):
    """The reader thread of one disk: whatever is not in memory or page cache (ruling 17)."""

    def submit(
        self, work: Callable[[], T], done: Callable[[T | None, Exception | None], None]
    ) -> None:
        """Run ``work`` off the loop, then call ``done(result, error)`` on the loop."""


class Peers(Protocol):
    """The other replicas of a shard. Sending may lose, repeat or delay messages."""

    def send(self, to: NodeId, message: PeerMessage) -> None:
        """Queue ``message``; never blocks, never raises."""


class Installs(Protocol):
    """Brings the machine a state when the log cannot: from a snapshot, its own or a peer's."""

    def offered(self, leader: NodeId, /) -> None:
        """The leader's log has no more of what this one lacks: fetch its snapshot."""

    def receive(self, sender: ReplicaId, message: InstallMessage, /) -> None:
        """Take in a request for a file, or a piece of one."""


class Machine(Protocol):
    """The deterministic state that committed entries feed.

    ``applied`` is the index that its state describes: replay starts after it.
    ``log_time_ms`` is the largest stamp of an entry up to there, 0 without any, and
    ``feature_level`` what entries are stamped with now.
    """

    applied: Index

    @property
    def log_time_ms(self) -> int:
        """The log time that decides."""

    @property
    def feature_level(self) -> int:
        """The feature level at which entries are proposed (ruling 15)."""

    def apply(self, entry: Entry) -> Sequence[object]:
        """Apply one committed entry; return one outcome for each command in it.

        Called once for each index above ``applied``, in order, for every kind
        of entry. An exception stops the replica at this index.
        """
