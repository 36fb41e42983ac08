"""What the use-cases need from a shard's replica, as one narrow protocol.

``node.Replica`` is the implementation; tests bring their own. Everything is
called on the replica's event loop.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from raftlog.base.entry import Buffer, Entry
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Index, Term

OnOutcome = Callable[[object, Term, Index], None]
"""Called once, on the loop: the machine's outcome or a ``RaftlogError`` (ruling 22)."""

OnReady = Callable[[RaftlogError | None], None]
"""Called once, on the loop: None when a linearizable read may look now, else why not."""


class ShardReplica(Protocol):
    """One replica of a shard."""

    def propose(
        self, command_type: int, parts: Sequence[Buffer], on_outcome: OnOutcome, /
    ) -> None:
        """Append one command; a refusal is told before this returns."""

    def read_index(self, on_ready: OnReady, /) -> None:
        """Wait until what is applied here includes everything committed before this call."""

    def tail(self, index: Index, /) -> Entry | None:
        """Return the entry if it is in memory. What is applied and not here is durable here."""

    def faulty(self, index: Index, /) -> None:
        """Bytes of a stored entry turned out bad: mark it, and have a peer repair it."""

    def on_applied(self, listener: Callable[[Index], None], /) -> None:
        """Call ``listener`` whenever more was applied, once per turn of apply."""
