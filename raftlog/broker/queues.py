"""Queues: an ordered sequence of records each, under a number of its own for ever.

A number is given in apply when a topic is made or gets more queues. What lies
where in the log is the business of the queue index; here is only where a queue
begins and ends.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from raftlog.base.errors import LimitReached, WrongQueue
from raftlog.base.ids import Offset
from raftlog.base.limits import QUEUES_MAX
from raftlog.broker.table import Table

OFFSET_ZERO: Final = Offset(0)


class Queue(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """One queue. A row of state: only the machine changes it."""

    number: int
    topic: str
    place: int
    start_offset: Offset = OFFSET_ZERO
    """The first offset that can be read."""
    end_offset: Offset = OFFSET_ZERO
    """The offset that the next record gets."""
    readable: bool = True
    writable: bool = True


class Queues:
    """The queues of one shard, by number."""

    def __init__(self) -> None:
        self.table: Final[Table[int, Queue]] = Table()
        self.next_number = 1
        """Never 0: a request that names no queue names none that there is."""

    def get(self, number: int) -> Queue | None:
        """Return the queue, or None."""
        return self.table.rows.get(number)

    def find(self, number: int) -> Queue:
        """Return the queue.

        Raises:
            WrongQueue: There is none.
        """
        queue = self.table.rows.get(number)
        if queue is None:
            raise WrongQueue(f"there is no queue {number}: its topic was deleted, or never was")
        return queue

    def load(self, rows: Iterable[Queue], next_number: int) -> None:
        """Start from a snapshot."""
        self.table.load((row.number, row) for row in rows)
        self.next_number = next_number

    def check_room(self, count: int) -> None:
        """Check that so many more may be opened.

        Raises:
            LimitReached: They may not.
        """
        if len(self.table) + count > QUEUES_MAX:
            raise LimitReached(f"{len(self.table)} queues are open; {QUEUES_MAX} may be")

    def open(self, topic: str, places: range) -> tuple[int, ...]:
        """Open new, empty queues for the places of a topic; return their numbers."""
        first = self.next_number
        self.next_number += len(places)
        for number, place in enumerate(places, start=first):
            self.table.put(number, Queue(number, topic, place))
        return tuple(range(first, self.next_number))

    def permit(self, numbers: Iterable[int], *, readable: bool, writable: bool) -> None:
        """Say whether queues may be read and written."""
        for number in numbers:
            queue = self.table.rows[number]
            if (queue.readable, queue.writable) != (readable, writable):
                self.table.touch(number)
                queue.readable, queue.writable = readable, writable

    def is_shut(self, number: int) -> bool:
        """Whether there is such a queue, and it can't be read at the moment."""
        queue = self.table.rows.get(number)
        return queue is not None and not queue.readable

    def close(self, number: int) -> None:
        """Forget a queue."""
        self.table.delete(number)

    def extend(self, queue: Queue, count: int) -> Offset:
        """Give the next ``count`` offsets of a queue away; return the first one."""
        self.table.touch(queue.number)
        base = queue.end_offset
        queue.end_offset = Offset(base + count)
        return base

    def move_start(self, number: int, start: int) -> Queue:
        """Move the start up to ``start``: never back, never beyond the end.

        Raises:
            WrongQueue: There is no such queue.
        """
        queue = self.find(number)
        moved = Offset(min(max(start, queue.start_offset), queue.end_offset))
        if moved != queue.start_offset:
            self.table.touch(number)
            queue.start_offset = moved
        return queue
