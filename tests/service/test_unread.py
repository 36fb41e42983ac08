"""A group's lag as a time: since when its first unread record has been there."""

import pytest

from raftlog.base.errors import Unavailable
from raftlog.base.ids import Offset
from raftlog.broker import index
from raftlog.service import unread
from raftlog.service.unread import UnreadTimes
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
    for offset in (0, 1, 2, 4):
        times.find([(finder.queue, Offset(offset)), (other, Offset(0))], told.append)
    times.find([], told.append)
    assert told == [
        *({finder.queue: ms, other: 9_000} for ms in (1_000, 1_000, 2_000, 3_000)),
        {},
    ]


def test_few_stored_ranges_are_read_and_the_rest_is_at_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest ranges, each once; one that is damaged tells what its summary knows."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 2)
    monkeypatch.setattr(unread, "RANGES_MAX", 2)
    finder = Finder()
    world, machine = finder.world, finder.world.replica.machine
    queues = [queue for name in NAMES for queue in world.create(name)]
    world.store(A, queue=finder.queue)
    for queue in queues:
        for _ in range(2):  # one range
            world.replica.log_time_ms += 1_000
            world.store(A, queue=queue)
    sealed = {each.summary: each for each in machine.take_sealed()}
    for summary in sealed:
        machine.stored(summary)
    told: list[object] = []
    times = UnreadTimes(machine, world.ranges)
    records = [(finder.queue, Offset(0)), *((queue, Offset(0)) for queue in queues)]
    times.find(records, told.append)
    assert (told, len(world.ranges.loads)) == ([], 2)
    (first, done), (_, fail) = world.ranges.loads
    done(sealed[first].postings[finder.queue], None)
    fail(None, Unavailable("damaged"))
    ((answer,),) = [told]
    assert isinstance(answer, dict)
    ends = {span.queue: span.log_time_ms for summary in sealed for span in summary.queues}
    assert answer[finder.queue] == 1_000
    assert {queue: answer[queue] for queue in queues[1:]} == {q: ends[q] for q in queues[1:]}
