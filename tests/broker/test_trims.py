"""Trim: a prefix of the log goes when no queue needs it, at the same entry everywhere (7, 29)."""

import pytest

from raftlog.base.ids import Index, Offset
from raftlog.broker import index
from raftlog.broker.index import RangeSummary
from raftlog.broker.invariants import check
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.snapshot import parse_snapshot
from raftlog.broker.topics import DeleteTopic, MoveStart
from raftlog.broker.trims import LogTrimmed, Trim, TrimRefused
from tests.broker.logs import Shard, append, batch_of


class World(Shard):
    """Two queues; every second batch ends a range: entries 1..3, 4..5, 6..7."""

    def __init__(self) -> None:
        super().__init__()
        self.queues = self.topic(queues=2)
        for number in range(6):
            self(append(batch_of(b"v"), self.queues[number % 2]))
        self.ends = [summary.last_index for summary in self.machine.ranges]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(index, "RANGE_POSTINGS", 2)
    return World()


def test_what_a_queue_still_has_is_not_trimmed(world: World) -> None:
    """The refusal names the range and counts who needs it; nothing is changed."""
    assert world(Trim(world.ends[0])) == TrimRefused(Index(1), 2)
    world(MoveStart(world.queues[0], 1))
    assert world(Trim(world.ends[0])) == TrimRefused(Index(1), 1)
    assert world.machine.trimmed == 0


def test_a_range_goes_when_every_queue_has_passed_it(world: World) -> None:
    """And only it: what is behind is found as before."""
    for queue in world.queues:
        world(MoveStart(queue, 1))
    assert world(Trim(world.ends[1])) == TrimRefused(Index(world.ends[0] + 1), 2)
    assert world.machine.free_through() == (world.ends[0], 1)
    assert world(Trim(world.ends[0])) == LogTrimmed(world.ends[0])
    assert world.machine.trimmed == world.ends[0]
    check(world.machine)
    found = world.machine.find(world.queues[0], Offset(1))
    assert not isinstance(found, RangeSummary)
    assert found.base_offset == 1


def test_a_trim_is_where_a_range_ends(world: World) -> None:
    """Ranges go whole: anything else would leave half of one."""
    for queue in world.queues:
        world(MoveStart(queue, 3))
    assert world(Trim(world.ends[0] + 1)) == TrimRefused(Index(world.ends[0] + 1), 0)
    beyond = world(Trim(10_000))
    assert isinstance(beyond, TrimRefused)
    assert beyond.needed == 0
    assert world(Trim(world.ends[-1])) == LogTrimmed(world.ends[-1])


def test_a_deleted_topic_pins_nothing(world: World) -> None:
    """Its records are in the log, but nobody can ask for them."""
    world(DeleteTopic("orders"))
    assert world(Trim(world.ends[-1])) == LogTrimmed(world.ends[-1])


def test_a_trim_makes_a_snapshot_and_so_does_the_same_again(world: World) -> None:
    """A full disk takes no more records, so no range would ever end by itself."""
    world(DeleteTopic("orders"))
    for _ in range(2):
        world(Trim(world.ends[-1]))
        frozen = world.machine.take_snapshot()
        assert frozen is not None
        assert (frozen.index, frozen.trimmed) == (world.machine.applied, world.ends[-1])
        frozen.end()
    before = world.machine.range_count
    assert world(Trim(world.ends[0])) == LogTrimmed(world.ends[-1]), "an older one: done already"
    assert world.machine.range_count == before


def test_a_snapshot_of_a_trimmed_log_needs_only_the_ranges_behind(world: World) -> None:
    """A machine that is given it is the one that was saved, whatever it had before."""
    for queue in world.queues:
        world(MoveStart(queue, 1))
    world(Trim(world.ends[0]))
    frozen = world.machine.take_snapshot()
    assert frozen is not None
    data = b"".join(frozen.chunks())
    ranges = list(world.machine.ranges)
    assert ranges[0].first_index == world.ends[0] + 1
    late = BrokerMachine()
    for entry in world.entries[:2]:
        late.apply(entry)
    late.restore(ranges, parse_snapshot(data))
    assert late.digest() == world.machine.digest()
    check(late)
