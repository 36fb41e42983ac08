"""Hidden batches: in the log and not visible, until a posting points back to them (ruling 7)."""

import pytest

from raftlog.base.ids import Index, Offset
from raftlog.broker import hidden, index
from raftlog.broker.delays import CancelDelayed, CancelEnded, Cancellation, Delay, Delayed
from raftlog.broker.index import RangeSummary
from raftlog.broker.invariants import check
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.relocations import Moving, Relocated, relocate_command
from raftlog.broker.snapshot import parse_snapshot
from raftlog.broker.timetable import PassTime
from raftlog.broker.topics import DeleteTopic, MoveStart
from raftlog.broker.trims import LogTrimmed, Trim, TrimRefused
from tests.broker.logs import Shard, append, batch_of, delayed

SECOND_MS = 1_000


class World(Shard):
    """One queue; every second posting ends a range."""

    def __init__(self) -> None:
        super().__init__()
        (self.queue,) = self.topic()

    def fill(self, count: int = 2) -> None:
        """Store batches that are visible at once."""
        for _ in range(count):
            self(append(batch_of(b"v"), self.queue))

    def hide(self, ms: int = SECOND_MS) -> Delayed:
        """Store a batch that is due in a while."""
        made = self(delayed(Delay(ms, relative=True), self.queue))
        assert isinstance(made, Delayed), made
        return made

    def pass_ms(self, ms: int) -> None:
        self.log_time_ms += ms
        self(PassTime())

    def forget_all(self) -> None:
        """Move the start to the end, and trim what may go."""
        queue = self.machine.queues.find(self.queue)
        self(MoveStart(self.queue, queue.end_offset))
        free, _ = self.machine.free_through()
        if free > self.machine.trimmed:
            assert self(Trim(free)) == LogTrimmed(free)

    def copy(self, made: Delayed, *, moved: int = 1) -> None:
        """Relocate a batch to the log's end, from where it lies."""
        row = self.machine.state.hidden.get((self.queue, made.id))
        assert row is not None, f"{made} is gone"
        moving = Moving(row.key, row.index, row.position, row.length)
        assert self(relocate_command([moving], [bytes(row.length)])) == Relocated(moved)

    def restored(self) -> BrokerMachine:
        """Return a machine that is given this one's newest snapshot."""
        frozen = self.machine.take_snapshot()
        assert frozen is not None, "no snapshot"
        snapshot = parse_snapshot(b"".join(frozen.chunks()))
        machine = BrokerMachine()
        through = snapshot.index
        machine.restore([r for r in self.machine.ranges if r.last_index <= through], snapshot)
        return machine


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(index, "RANGE_POSTINGS", 2)
    return World()


def test_a_hidden_batch_has_no_offset(world: World) -> None:
    """The queue's end does not move, and what follows takes the offset."""
    world.hide()
    assert world.machine.queues.find(world.queue).end_offset == 0
    world.fill(1)
    assert world.machine.queues.find(world.queue).end_offset == 1
    check(world.machine)


def test_it_becomes_visible_by_a_posting_that_points_back(world: World) -> None:
    """At the end of its queue, with the log time of that moment; the body stays where it is."""
    made = world.hide()
    world.fill()
    world.pass_ms(SECOND_MS)
    postings = world.machine.find(world.queue, Offset(2))
    assert not isinstance(postings, RangeSummary)
    posting = postings[postings.find(Offset(2))]
    assert (posting.base_offset, posting.index) == (2, made.index)
    assert posting.log_time_ms == world.log_time_ms
    assert world.machine.take_touched() >= {world.queue}
    check(world.machine)


def test_a_range_is_needed_while_it_hides_something(world: World) -> None:
    """A timer of 30 days outlives the retention of all that lies beside it."""
    made = world.hide()
    world.fill()
    end = world.machine.ranges[0].last_index
    world(MoveStart(world.queue, 2))
    assert world(Trim(end)) == TrimRefused(Index(1), 1)
    needed = world.machine.oldest_needed()
    assert needed is not None
    assert needed.hidden == {world.queue: 1}
    world(CancelDelayed(world.queue, made.id, made.due_ms))
    assert world(Trim(end)) == LogTrimmed(end)
    check(world.machine)


def test_a_range_is_needed_until_retention_has_passed_what_points_into_it(world: World) -> None:
    """Else it would be gone minutes after it became visible, before anybody read it (7)."""
    world.hide()
    world.fill()
    world.pass_ms(SECOND_MS)
    world.fill(1)
    end = world.machine.ranges[0].last_index
    world(MoveStart(world.queue, 2))
    assert world(Trim(end)) == TrimRefused(Index(1), 1)
    world.fill()
    world(MoveStart(world.queue, 3))
    assert world(Trim(end)) == LogTrimmed(end)
    check(world.machine)


def test_what_points_back_is_still_needed_after_a_restart(world: World) -> None:
    """No file says who points into a range from a later one: the tables do."""
    world.hide()
    world.fill()
    world.pass_ms(SECOND_MS)
    world.fill(1)
    world(MoveStart(world.queue, 2))
    world.fill()
    machine = world.restored()
    assert machine.free_through() == world.machine.free_through() == (0, 0)
    check(machine)


def test_a_relocated_batch_frees_its_range(world: World) -> None:
    """And is read from its copy when it becomes visible."""
    made = world.hide()
    world.fill()
    world.copy(made)
    copied = world.machine.applied
    world.forget_all()
    assert world.machine.trimmed >= made.index
    world.pass_ms(SECOND_MS)
    found = world.machine.find(world.queue, Offset(2))
    assert not isinstance(found, RangeSummary)
    assert found[0].index == copied
    check(world.machine)


def test_a_batch_is_relocated_only_from_where_it_is(world: World) -> None:
    """The leader read it, another copy was faster, and the first one's bytes are gone by now."""
    made = world.hide()
    row = world.machine.state.hidden.get((world.queue, made.id))
    assert row is not None
    late = Moving(row.key, row.index, row.position, row.length)
    world.copy(made)
    place = (row.index, row.position)
    assert world(relocate_command([late], [bytes(row.length)])) == Relocated(0)
    assert (row.index, row.position) == place
    world.pass_ms(SECOND_MS)
    assert world(relocate_command([late], [bytes(row.length)])) == Relocated(0)
    check(world.machine)


def test_a_restarted_machine_knows_what_was_relocated(world: World) -> None:
    """A second relocation takes it out of the range of the first."""
    made = world.hide()
    world.fill()
    world.copy(made)
    world.fill()
    machine = world.restored()
    check(machine)
    (second,) = machine.state.hidden.in_range(*_bounds(machine, 1), 10)
    assert second.id == made.id
    assert machine.state.hidden.in_range(*_bounds(machine, 0), 10) == []


def _bounds(machine: BrokerMachine, number: int) -> tuple[Index, Index]:
    summary = machine.ranges[number]
    return summary.first_index, summary.last_index


def test_a_range_tells_what_it_hides(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many at a time as are asked for, of queues that are there."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 5)
    rows = [world.hide() for _ in range(3)]
    world.fill()
    world.hide()
    found = world.machine.state.hidden.in_range(*_bounds(world.machine, 0), 10)
    assert [row.id for row in found] == [each.id for each in rows]
    assert len(world.machine.state.hidden.in_range(*_bounds(world.machine, 0), 2)) == 2
    world(DeleteTopic("orders"))
    assert world.machine.state.hidden.in_range(*_bounds(world.machine, 0), 10) == []


def test_a_deleted_topic_hides_nothing_for_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batches go a few at each log time, or a million would hold everything up."""
    monkeypatch.setattr(hidden, "CLEARED_AT_ONCE", 2)
    monkeypatch.setattr(index, "RANGE_POSTINGS", 6)
    for _ in range(5):
        world.hide()
    world.fill()
    end = world.machine.ranges[0].last_index
    world(DeleteTopic("orders"))
    assert world.machine.free_through()[0] == end, "nothing of it is needed any more"
    world(Trim(end))
    left = []
    while len(world.machine.state.hidden):
        assert world.machine.next_due_ms <= world.log_time_ms + 1
        world(PassTime())  # the same log time: nothing
        world.pass_ms(1)
        left.append(len(world.machine.state.hidden))
        check(world.machine)
    assert left == [1, 0], "two went with the trim"


def test_a_deleted_topic_s_batches_are_not_delivered(world: World) -> None:
    """They are due before they have gone."""
    made = world.hide(0)
    world(DeleteTopic("orders"))
    world.pass_ms(10)
    assert len(world.machine.state.hidden) == 0
    assert world.refusal(CancelDelayed(world.queue, made.id, made.due_ms)).code == "wrong_queue"
    check(world.machine)


def test_a_relocation_that_does_not_add_up_is_refused(world: World) -> None:
    """Apply is total (15)."""
    made = world.hide()
    row = world.machine.state.hidden.get((world.queue, made.id))
    assert row is not None
    good = relocate_command(
        [Moving(row.key, row.index, row.position, row.length)], [bytes(row.length)]
    )
    for parts in [(), (b"\x01",), (good.parts[0],), (*good.parts, b"x"), (b"\xff" * 8,)]:
        bad = type(good)(good.type, parts)
        assert world.refusal(bad).code == "bad_request"
    shorter = Moving(row.key, row.index, row.position, row.length - 1)
    assert world(relocate_command([shorter], [bytes(row.length - 1)])) == Relocated(0)


def test_cancelled_is_cancelled(world: World) -> None:
    """Never visible, and nothing of it is needed."""
    made = world.hide()
    world.fill()
    cancel = CancelDelayed(world.queue, made.id, made.due_ms)
    assert world(cancel) == CancelEnded(Cancellation.CANCELLED)
    world.pass_ms(SECOND_MS)
    assert world.machine.queues.find(world.queue).end_offset == 2
    assert len(world.machine.state.hidden) == 0
    check(world.machine)


def test_what_is_hidden_ends_a_range_too(world: World) -> None:
    """A shard that takes in nothing else would else be replayed from long ago at every start."""
    world.hide()
    assert world.machine.range_count == 0
    world.hide()
    assert world.machine.range_count == 1
