"""How long the oldest unread record of each queue has been there: a group's lag as a time.

Where a record lies says when it was stored (log time, ruling 8), and the postings of the
newest records are in memory. A group that is far behind has its place in older ranges, which
are files: so few of them are read for one answer, the oldest first, because the oldest
record is what a lag is measured by. In the other ones a queue's *last* record there stands
for the unread one: the lag is at least so long.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Index, Offset
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.service.ports import StoredRanges

RANGES_MAX: Final = 4
"""Ranges that are read from their files for one answer."""

Wanted = tuple[int, Offset]
"""A queue, and the offset of a record that it has."""
OnTimes = Callable[[Mapping[int, int]], None]
"""Called once, on the loop: for each queue the log time of its record."""


class UnreadTimes:
    """Looks up when records of one shard were stored."""

    def __init__(self, machine: BrokerMachine, ranges: StoredRanges) -> None:
        self._machine: Final = machine
        self._ranges: Final = ranges

    def find(self, records: Iterable[Wanted], done: OnTimes) -> None:
        """Tell when each of ``records`` was stored; before this returns if all is in memory."""
        times: dict[int, int] = {}
        stored: dict[Index, tuple[RangeSummary, list[Wanted]]] = {}
        for queue, offset in records:
            found = self._machine.find(queue, offset)
            if isinstance(found, Postings):
                times[queue] = _time_at(found, offset)
            else:
                stored.setdefault(found.first_index, (found, []))[1].append((queue, offset))
        for summary, wanted in stored.values():
            queues = {queue for queue, _ in wanted}
            for span in summary.queues:
                if span.queue in queues:
                    times[span.queue] = span.log_time_ms
        oldest = [stored[first] for first in sorted(stored)[:RANGES_MAX]]
        left = sum(len(wanted) for _, wanted in oldest)
        if not left:
            done(times)
            return

        def load(summary: RangeSummary, queue: int, offset: Offset) -> None:
            def loaded(postings: Postings | None, _error: RaftlogError | None) -> None:
                nonlocal left
                if postings is not None:  # else a damaged file: "at least" is still true
                    times[queue] = _time_at(postings, offset)
                left -= 1
                if not left:
                    done(times)

            self._ranges.load(summary, queue, loaded)

        for summary, wanted in oldest:
            for queue, offset in wanted:
                load(summary, queue, offset)


def _time_at(postings: Postings, offset: Offset) -> int:
    return postings.log_times_ms[postings.find(offset)]
