"""Real-time order: what began after something had ended comes after it, and reads see it.

Appends: an append that is sent after another was acked gets a later index.
Reads (ReadIndex, ruling 23): a read that begins after an ack, or after another
read returned, is served from a state that includes both.
"""

from typing import Final

from chaos.check.violation import Violation
from raftlog.base.ids import Index

NAME: Final = "real_time_order"


class RealTimeOrder:
    """The highest index that any client has seen the effect of."""

    def __init__(self) -> None:
        self.seen = Index(0)

    def begins(self) -> Index:
        """Return what an operation that begins now must come after."""
        return self.seen

    def appended(self, floor: Index, index: Index) -> None:
        """Take in an ack at ``index`` of an append that began at ``floor``.

        Raises:
            Violation: It lies before something that had ended before it began.
        """
        if index <= floor:
            raise Violation(NAME, f"an append lies at {index} and began after {floor} was acked")
        self.seen = max(self.seen, index)

    def read(self, floor: Index, applied: Index) -> None:
        """Take in a read served from the state at ``applied`` that began at ``floor``.

        Raises:
            Violation: The state is older than what was known when it began.
        """
        if applied < floor:
            raise Violation(NAME, f"stale read: served at {applied}, {floor} was known before")
        self.seen = max(self.seen, applied)
