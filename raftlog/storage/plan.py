"""Blocking work, planned on the loop and performed on the writer thread."""

from collections.abc import Callable
from typing import TypeAlias

from raftlog.base.entry import LogEnd
from raftlog.base.ids import WRITE_ZERO, WriteNumber
from raftlog.storage.segment import Segment

Step: TypeAlias = Callable[[], None]
"""A few system calls; to be done once, by the writer thread."""


class StorePlan:
    """System calls in their order. Performed to the end once, by one thread.

    ``perform`` touches files only; what the store knows changes when the plan
    is made and when it is completed, both on the loop.
    """

    def __init__(self, last_write: WriteNumber = WRITE_ZERO) -> None:
        self.last_write = last_write
        """The highest write number that the plan makes durable; 0 for other work."""
        self.steps: list[Step] = []
        self.end_after: LogEnd | None = None
        self.repaired: tuple[int, int] | None = None
        self._performed = 0
        self._dropped: list[Segment] = []

    def drop(self, segment: Segment) -> None:
        """Drop a segment that earlier steps of this plan may make, or write to: they come first.

        Its file is closed with the plan.
        """
        segment.pins += 1
        segment.drop()
        self._dropped.append(segment)

    def end(self) -> None:
        """Close what the plan has dropped, now that it was performed."""
        while self._dropped:
            self._dropped.pop().unpin()

    def perform(self) -> None:
        """Do every step that is not done. Returning means durable.

        Raises:
            NoRoom: A step needs space that the disk does not have. It did nothing
                that counts, nothing after it was begun: perform again when there is.
            StorageFailed: A step failed. The store is in an unknown state and
                must be opened again from disk.
        """
        steps = self.steps
        while self._performed < len(steps):
            steps[self._performed]()
            self._performed += 1
