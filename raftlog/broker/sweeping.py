"""Sweeping: messages in flight that are nobody's any more, a few with each entry.

Retention has passed them, or their topic or group went. They are not leased, and
their rows go; there may be many, and nothing else that is due waits for all of them.
"""

from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Final

from raftlog.broker.flights import Flight, Flights
from raftlog.broker.queue_groups import QueueGroups
from raftlog.broker.queues import Queues


class Sweeping:
    """Finds rows that are nobody's, and ends them."""

    def __init__(self, groups: QueueGroups, flights: Flights, queues: Queues) -> None:
        self._groups: Final = groups
        self._flights: Final = flights
        self._queues: Final = queues
        self._unswept: Final[list[tuple[int, int]]] = []
        """A heap of groups and queues whose first rows may be nobody's."""

    def loaded(self) -> None:
        """Begin anew with the rows of a snapshot: any of them may be."""
        self._unswept[:] = sorted({(row[0], row[1]) for row in self._flights.table.rows})

    @property
    def has_more(self) -> bool:
        """Whether there may be something to sweep."""
        return bool(self._unswept)

    def is_nobodys(self, row: Flight) -> bool:
        """Whether nobody gets this message any more."""
        queue = self._queues.get(row.queue)
        return (
            queue is None
            or row.offset < queue.start_offset
            or self._groups.numbered(row.group) is None
        )

    def add(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Look at what these groups have in flight in these queues, if anything."""
        for pair in pairs:
            if self._flights.oldest(*pair) is not None:
                heappush(self._unswept, pair)

    def sweep_one(self, now_ms: int) -> Flight | None:
        """End one row that is nobody's; return it as it was, None if there is none."""
        while self._unswept:
            row = self._flights.oldest(*self._unswept[0])
            if row is not None and self.is_nobodys(row):
                group = self._groups.numbered(row.group)
                if group is not None:
                    self._groups.table.touch(group.name)
                    group.expired += 1
                self._flights.finish(row, now_ms)
                return row
            heappop(self._unswept)
        return None
