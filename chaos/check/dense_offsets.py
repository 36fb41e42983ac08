"""Offsets are dense and unique: each queue counts its records from 0 without a gap.

Fed with what was stored, in the order of the log. A queue's number is its own
for ever: one that is given out twice would join two queues under one name. Its
start only moves up: what was forgotten does not come back.
"""

from typing import Final

from chaos.check.violation import Violation

NAME: Final = "dense_offsets"


class DenseOffsets:
    """Where every queue that ever was begins and ends."""

    def __init__(self) -> None:
        self.ends: dict[int, int] = {}
        self.starts: dict[int, int] = {}

    def opened(self, queue: int) -> None:
        """Take in that ``queue`` is a new queue.

        Raises:
            Violation: Its number was another queue's.
        """
        if queue in self.ends:
            raise Violation(NAME, f"queue number {queue} is given out twice")
        self.ends[queue] = self.starts[queue] = 0

    def stored(self, queue: int, base_offset: int, count: int) -> None:
        """Take in that the next ``count`` records of ``queue`` begin at ``base_offset``.

        Raises:
            Violation: Offsets were skipped or given twice, or nobody opened the queue.
        """
        end = self.ends.get(queue)
        if end is None:
            raise Violation(NAME, f"a batch is stored in queue {queue}, which never was")
        if base_offset != end:
            raise Violation(
                NAME, f"a batch of queue {queue} is stored at {base_offset}; its end is {end}"
            )
        self.ends[queue] = end + count

    def moved(self, queue: int, start: int) -> None:
        """Take in that ``queue`` begins at ``start`` now.

        Raises:
            Violation: It began later before, or does not reach so far.
        """
        known, end = self.starts[queue], self.ends[queue]
        if not known <= start <= end:
            raise Violation(
                NAME, f"the start of queue {queue} moves from {known} to {start}; its end is {end}"
            )
        self.starts[queue] = start
