"""How long the oldest unread record of each queue has been there: a group's lag as a time.

Where a record lies says when it was stored (log time, ruling 8): that of the entry that stored
its batch, or made it visible. The postings of the newest records are in memory; a group that
is far behind has its place in older ranges, which are files. Nothing of a backlog is looked at
but the one posting that holds the unread record::

    range 1 (file)    range 2 (file)    open range (memory)
    ...[ orders/0 @7 ]....[ audit/3 @90 ]....[ orders/1 @12 ]...
          ^ read 1st          ^ read 2nd         ^ told at once

At most so many files are read for one answer, one after the other, the oldest first, because
the oldest record is what a lag is measured by. In the other ones a queue's *last* record there
stands for the unread one: the lag is at least so long.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Index, Offset
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.service.ports import StoredRanges

RANGES_MAX: Final = 16
"""Ranges that are read from their files for one answer."""
IN_MEMORY: Final = 1 << 63
"""Behind the first index of every range that is a file."""

Wanted = tuple[int, Offset]
"""A queue, and the offset of a record that it has."""
OnTimes = Callable[[Mapping[Wanted, int]], None]
"""Called once, on the loop: for each record the log time at which it could first be read."""


class UnreadTimes:
    """Looks up when records of one shard were stored."""

    def __init__(self, machine: BrokerMachine, ranges: StoredRanges) -> None:
        self._machine: Final = machine
        self._ranges: Final = ranges

    def find(self, records: Iterable[Wanted], done: OnTimes) -> None:
        """Tell when each of ``records`` was stored; before this returns if all is in memory."""
        times: dict[Wanted, int] = {}
        stored: dict[Index, tuple[RangeSummary, list[Wanted]]] = {}
        survivors = self._machine.survivors
        for record in records:
            if record[1] < survivors.copied_through(record[0]):
                times[record] = survivors.time_at(*record)
                continue
            found = self._machine.find(*record)
            if isinstance(found, Postings):
                times[record] = _time_at(found, record)
            else:
                stored.setdefault(found.first_index, (found, []))[1].append(record)
        for summary, wanted in stored.values():
            last = {span.queue: span.log_time_ms for span in summary.queues}
            for record in wanted:
                times[record] = last[record[0]]
        oldest = [stored[first] for first in sorted(stored)[:RANGES_MAX]]
        _Looking(self._ranges, oldest, times, done).go_on()

    def oldest(self, records: Iterable[Wanted]) -> Sequence[Wanted]:
        """Return those among which the oldest one is, without reading anything.

        All of them lie in one file, or in memory: ranges follow one another in time. But for
        survivors, which are of any time; they are in memory.
        """
        least = IN_MEMORY
        found: list[Wanted] = []
        survivors: list[Wanted] = []
        for record in records:
            if record[1] < self._machine.survivors.copied_through(record[0]):
                survivors.append(record)
                continue
            place = self._machine.find(*record)
            rank = IN_MEMORY if isinstance(place, Postings) else place.first_index
            if rank < least:
                least, found = rank, []
            if rank == least:
                found.append(record)
        return found + survivors


class _Looking:
    """Reads one range after the other, so that other readers need not wait for all of them."""

    def __init__(
        self,
        ranges: StoredRanges,
        places: Iterable[tuple[RangeSummary, Sequence[Wanted]]],
        times: dict[Wanted, int],
        done: OnTimes,
    ) -> None:
        self._ranges: Final = ranges
        self._places: Final = iter(places)
        self._times: Final = times
        self._done: Final = done
        self._left = 0

    def go_on(self) -> None:
        """Read the next range, or tell what was found."""
        summary, records = next(self._places, (None, ()))
        if summary is None:
            self._done(self._times)
            return
        self._left = len(records)
        for record in records:  # they share one look at the file
            self._ranges.load(summary, record[0], partial(self._loaded, record))

    def _loaded(
        self, record: Wanted, postings: Postings | None, _error: RaftlogError | None
    ) -> None:
        if postings is not None:  # else a damaged file: "at least" is still true
            self._times[record] = _time_at(postings, record)
        self._left -= 1
        if not self._left:
            self.go_on()


def _time_at(postings: Postings, record: Wanted) -> int:
    return postings[postings.find(record[1])].log_time_ms
