"""A group's lag as a time: since when its first unread record has been there."""

from collections.abc import Mapping

import pytest

from raftlog.base.errors import Unavailable
from raftlog.base.ids import Offset
from raftlog.broker import index
from raftlog.service import unread
from raftlog.service.unread import UnreadTimes, Wanted
from tests.service.test_find import Finder
from tests.service.test_read import A

NAMES = ("first", "second", "third")


def test_a_record_in_memory_is_told_at_once() -> None:
    """Of the batch that holds it, which may have begun before it."""
    finder = Finder()
    (other,) = finder.world.create("other")
    finder.world.replica.log_time_ms = 9_000
    finder.world.store(A, queue=other)
    told: list[object] = []
    times = UnreadTimes(finder.world.replica.machine, finder.world.ranges)
    expected = {0: 1_000, 1: 1_000, 2: 2_000, 4: 3_000}
    for offset in expected:
        times.find([(finder.queue, Offset(offset)), (other, Offset(0))], told.append)
    times.find([], told.append)
    assert told == [
        *({(finder.queue, at): ms, (other, 0): 9_000} for at, ms in expected.items()),
        {},
    ]


class Ranges:
    """Four queues, each with two records in a stored range of its own, in the order of queues."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(index, "RANGE_POSTINGS", 2)
        finder = Finder()
        self.world, self.machine = finder.world, finder.world.replica.machine
        self.loads = self.world.ranges.loads
        self.queues = [finder.queue]
        self.queues += [queue for name in NAMES for queue in self.world.create(name)]
        self.world.store(A, queue=finder.queue)
        for queue in self.queues[1:]:
            self.store(queue)
            self.store(queue)
        self.sealed = {each.summary: each for each in self.machine.take_sealed()}
        for summary in self.sealed:
            self.machine.stored(summary)
        self.times = UnreadTimes(self.machine, self.world.ranges)
        self.told: list[Mapping[Wanted, int]] = []

    def store(self, queue: int) -> None:
        """Store a batch, a second after the last one."""
        self.world.replica.log_time_ms += 1_000
        self.world.store(A, queue=queue)

    def load(self, queue: int) -> None:
        """Answer the only question that waits: the range's postings of a queue."""
        ((summary, done),) = self.loads
        self.loads.clear()
        done(self.sealed[summary].postings[queue], None)


def test_few_stored_ranges_are_read_and_the_rest_is_at_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest ranges, one after the other; a damaged one tells what its summary knows."""
    monkeypatch.setattr(unread, "RANGES_MAX", 2)
    at = Ranges(monkeypatch)
    records = [(queue, Offset(0)) for queue in at.queues]
    at.times.find(records, at.told.append)
    assert at.told == []
    at.load(at.queues[0])
    ((_, fail),) = at.loads
    fail(None, Unavailable("damaged"))
    ((answer,),) = [at.told]
    ends = {span.queue: span.log_time_ms for summary in at.sealed for span in summary.queues}
    assert answer[records[0]] == 1_000
    assert [answer[each] for each in records[1:]] == [ends[queue] for queue in at.queues[1:]]


def test_one_look_at_a_file_answers_for_all_that_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups, and two places of one queue; each is told exactly."""
    at = Ranges(monkeypatch)
    queue = at.queues[1]
    ends = next(each.log_time_ms for each in at.sealed if each.queues[0].queue == queue)
    per = at.machine.queues.find(queue).end_offset // 2
    at.times.find([(queue, Offset(0)), (queue, Offset(per))], at.told.append)
    assert len({summary.first_index for summary, _ in at.loads}) == 1
    for summary, done in at.loads:
        done(at.sealed[summary].postings[queue], None)
    assert at.told == [{(queue, 0): ends - 1_000, (queue, per): ends}]


def test_the_oldest_record_is_in_the_first_range_that_has_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A list of groups reads one file at most for each of them, and none if all is in memory."""
    at = Ranges(monkeypatch)
    first, second, third = at.queues[1:]
    at.store(third)
    newest = Offset(at.machine.queues.find(third).end_offset - 1)
    records = [(third, newest), (third, Offset(0)), (first, Offset(0)), (second, Offset(0))]
    assert at.times.oldest(records) == [(first, Offset(0))]
    assert at.times.oldest(records[:2]) == [(third, Offset(0))]
    assert at.times.oldest(records[:1]) == records[:1]
    assert at.times.oldest([]) == []
    assert at.loads == []
