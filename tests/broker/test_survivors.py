"""Survivors: visible batches that were copied forward, so that their range can go (ruling 7)."""

import pytest

from raftlog.base.errors import BadRequest
from raftlog.base.ids import Index, Offset
from raftlog.broker import index, survivors
from raftlog.broker.commands import SURVIVORS_LEVEL, Command, CommandType
from raftlog.broker.delays import Delay, Delayed
from raftlog.broker.index import Posting, RangeSummary
from raftlog.broker.invariants import check
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queue_index import Found, RangeUse
from raftlog.broker.ranges import parse_range
from raftlog.broker.snapshot import parse_snapshot
from raftlog.broker.survivors import CopiedForward, Copying, copy_command
from raftlog.broker.timetable import PassTime
from raftlog.broker.topics import DeleteTopic, MoveStart
from raftlog.broker.trims import LogTrimmed, Trim, TrimRefused
from tests.broker.logs import Shard, append, batch_of, delayed, entry_of

SECOND_MS = 1_000


class World(Shard):
    """A topic that everybody has passed, one of letters that stay; four postings a range."""

    def __init__(self) -> None:
        super().__init__()
        (self.orders,) = self.topic("orders")
        (self.letters,) = self.topic("letters")
        self.files: dict[Index, dict[int, index.Postings]] = {}

    def fill(self, orders: int = 3, letters: int = 1) -> None:
        """Store batches, a second apart: by default those of one range."""
        for queue in [self.letters] * letters + [self.orders] * orders:
            self.log_time_ms += SECOND_MS
            self(append(batch_of(b"v" * queue), queue))
        for sealed in self.machine.take_sealed():
            self.files[sealed.first_index] = parse_range(sealed.encoded)[1]
            self.machine.stored(sealed.summary)
        self(MoveStart(self.orders, self.machine.queues.find(self.orders).end_offset))

    def postings(self, queue: int, found: Found) -> index.Postings:
        if isinstance(found, RangeSummary):
            return self.files[found.first_index][queue]
        return found

    def posting(self, queue: int, offset: int) -> Posting:
        found = self.postings(queue, self.machine.find(queue, Offset(offset)))
        return found[found.find(Offset(offset))]

    def copying(self, *offsets: int, queue: int = 0) -> Command:
        """Return the command that copies the letters at ``offsets``."""
        number = queue or self.letters
        items = [Copying(number, self.posting(number, offset)) for offset in offsets]
        return copy_command(items, [bytes(item.posting.length) for item in items])

    def copy(self, *offsets: int, copied: int | None = None) -> None:
        expected = len(offsets) if copied is None else copied
        assert self(self.copying(*offsets)) == CopiedForward(expected)
        check(self.machine)

    def use(self) -> RangeUse:
        """Return what is needed of the first range that is."""
        first = self.machine.first_needed(self.log_time_ms)
        assert first is not None
        found = self.machine.use_of(first, self.log_time_ms)
        assert found is not None
        return found

    def trim(self) -> Index:
        """Forget all that may go."""
        free, _ = self.machine.free_through()
        assert self(Trim(free)) == LogTrimmed(free)
        check(self.machine)
        return free

    def restored(self) -> BrokerMachine:
        """Return a machine that is given this one's newest snapshot."""
        frozen = self.machine.take_snapshot()
        assert frozen is not None, "no snapshot"
        snapshot = parse_snapshot(b"".join(frozen.chunks()))
        machine = BrokerMachine()
        machine.restore(
            [each for each in self.machine.ranges if each.last_index <= snapshot.index], snapshot
        )
        return machine


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(index, "RANGE_POSTINGS", 4)
    made = World()
    made.fill()
    return made


def test_one_letter_keeps_the_log_until_it_is_copied(world: World) -> None:
    """The range is not needed any more; the letter is where it was, elsewhere."""
    before = world.posting(world.letters, 0)
    end = world.machine.ranges[0].last_index
    assert world(Trim(end)) == TrimRefused(Index(1), 1)
    world.copy(0)
    assert world(Trim(end)) == LogTrimmed(end)
    check(world.machine)
    after = world.posting(world.letters, 0)
    assert after.index == world.machine.applied - 1
    assert (after.base_offset, after.count, after.length) == (0, 1, before.length)
    assert (after.log_time_ms, after.record_time_ms) == (before.log_time_ms, 5)


def test_the_place_in_the_command_is_where_the_bytes_are(world: World) -> None:
    """The second of two begins behind the first."""
    world.fill()
    bodies = [b"a" * world.posting(world.letters, 0).length, b"b" * 80]
    items = [Copying(world.letters, world.posting(world.letters, 0))]
    second = world.posting(world.letters, 1)
    items.append(
        Copying(
            world.letters,
            Posting(
                *(second.base_offset, second.count, second.log_time_ms, second.record_time_ms),
                *(second.index, second.position, 80),
            ),
        )
    )
    command = copy_command(items, bodies)
    assert world(command) == CopiedForward(2)
    body = entry_of(world.machine.applied, command).body
    rows = world.machine.survivors.table.rows.values()
    assert [bytes(body[row.position : row.position + row.length]) for row in rows] == bodies


def test_a_queue_is_copied_in_order_and_without_a_gap(world: World) -> None:
    """Else a range would go of which something in the middle is needed."""
    world.fill()
    world.fill()
    world.copy(1, copied=0)
    world.copy(0)
    world.copy(2, copied=0)
    world.copy(1, 2)
    assert world.machine.free_through() == (world.machine.ranges[2].last_index, 3)


def test_what_is_copied_is_found_by_offset_time_and_bytes(world: World) -> None:
    """Before the ranges are gone, and after."""
    times = [world.posting(world.letters, 0).log_time_ms]
    for _ in range(3):
        world.fill()
        times.append(world.log_time_ms - 3 * SECOND_MS)
    size = world.posting(world.letters, 0).length
    world.copy(0, 1)
    for _ in range(2):
        assert world.machine.batch_bytes(world.letters) == 4 * size
        assert world.machine.find_bytes(world.letters, 4 * size) is None
        for offset, time_ms in enumerate(times):
            assert world.posting(world.letters, offset).base_offset == offset
            assert world.posting(world.letters, offset).log_time_ms == time_ms
            for asked_ms in (time_ms - SECOND_MS + 1, time_ms):
                found = world.machine.find_time(world.letters, asked_ms)
                assert found is not None
                postings = world.postings(world.letters, found)
                at = next(n for n in range(len(postings)) if postings.log_times_ms[n] >= asked_ms)
                assert postings[at].base_offset == offset
            newer = size * (3 - offset)
            found_bytes = world.machine.find_bytes(world.letters, newer)
            assert found_bytes is not None
            where, behind = found_bytes
            postings = world.postings(world.letters, where)
            assert behind <= newer < behind + postings.batch_bytes
        assert world.machine.find_time(world.letters, times[-1] + 1) is None
        world.trim()


def test_postings_are_made_a_few_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue may have fifty thousand survivors."""
    monkeypatch.setattr(survivors, "POSTINGS_AT_ONCE", 2)
    for _ in range(4):
        world.fill()
    world.copy(0, 1, 2, 3, 4)
    world.trim()
    found = world.machine.find(world.letters, Offset(1))
    assert not isinstance(found, RangeSummary)
    assert [found[at].base_offset for at in range(len(found))] == [1, 2]
    size = world.posting(world.letters, 0).length
    where = world.machine.find_bytes(world.letters, 3 * size)
    assert where is not None
    assert not isinstance(where[0], RangeSummary)
    assert (where[0].base_offset, where[1]) == (1, 2 * size)


def test_who_is_copied_again_points_to_the_new_copy(world: World) -> None:
    """Its first copy's range is old in its turn; only from where it was read."""
    world.copy(0)
    world.trim()
    world.fill(letters=0, orders=4)
    stale = world.copying(0)
    assert world.machine.free_through()[1] == 0
    use = world.use()
    assert (use.copies, use.batches, use.queues) == (1, 0, {})
    world.copy(0)
    assert world(stale) == CopiedForward(0)
    check(world.machine)
    assert world.machine.free_through()[1] > 0
    world.trim()
    assert world.posting(world.letters, 0).index > world.machine.trimmed


def test_the_start_takes_survivors_with_it(world: World) -> None:
    """And with the last one the range of its copy."""
    world.fill()
    world.copy(0, 1)
    world.trim()
    world(MoveStart(world.letters, 1))
    check(world.machine)
    assert world.machine.survivors.table.rows.keys() == {(world.letters, 1)}
    world(MoveStart(world.letters, 2))
    check(world.machine)
    assert len(world.machine.survivors) == 0
    world.fill(letters=0, orders=4)
    assert world.machine.free_through()[1] > 0


def test_a_batch_whose_middle_is_the_start_stays(world: World) -> None:
    """Whole batches are stored, and copied."""
    world(append(batch_of(b"1", b"2", b"3"), world.letters))
    world.fill()
    world(MoveStart(world.letters, 2))
    assert world(world.copying(2, 4)) == CopiedForward(2)
    check(world.machine)
    world(MoveStart(world.letters, 3))
    check(world.machine)
    assert len(world.machine.survivors) == 2
    world(MoveStart(world.letters, 4))
    check(world.machine)
    assert len(world.machine.survivors) == 1


def test_what_the_start_has_passed_meanwhile_is_not_copied(world: World) -> None:
    """The leader read it a moment before."""
    world.fill()
    command = world.copying(0, 1)
    world(MoveStart(world.letters, 1))
    assert world(command) == CopiedForward(1)
    check(world.machine)
    world(MoveStart(world.letters, 2))
    assert world(command) == CopiedForward(0)


def test_a_deleted_topic_has_no_survivors(world: World) -> None:
    """Nor are any made for it."""
    late = world.copying(0)
    world.copy(0)
    world(DeleteTopic("letters"))
    check(world.machine)
    assert len(world.machine.survivors) == 0
    assert world(late) == CopiedForward(0)


def test_a_restarted_machine_has_them(world: World) -> None:
    """And counts the ranges that their copies lie in."""
    world.copy(0)
    world.trim()
    world.fill(letters=0, orders=4)
    machine = world.restored()
    check(machine)
    assert machine.survivors.copied_through(world.letters) == 1
    assert machine.free_through() == world.machine.free_through()
    assert machine.find(world.letters, Offset(0)) is not None


def test_what_became_visible_late_is_copied_up_to_its_offset(world: World) -> None:
    """Its body keeps the range that it lies in, its posting is in a later one."""
    made = world(delayed(Delay(SECOND_MS * 10, relative=True), world.letters))
    assert isinstance(made, Delayed)
    world.fill()
    end = world.machine.ranges[-1].last_index
    assert made.index <= end
    world.log_time_ms += 10 * SECOND_MS
    world(PassTime())
    world.fill(letters=0, orders=4)
    world.copy(0, 1)
    use = world.use()
    assert (use.queues, use.batches) == ({world.letters: 3}, 1)
    world(append(batch_of(b"v"), world.orders))
    world.copy(2)
    assert world(Trim(end)) == LogTrimmed(end)
    check(world.machine)
    assert world.posting(world.letters, 2).index > end


def test_they_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it the log is kept, as ever."""
    monkeypatch.setattr(survivors, "SURVIVOR_ROWS_MAX", 1)
    world.fill()
    world.copy(0, 1, copied=1)


def test_an_older_member_is_not_asked_to_apply_them() -> None:
    """Apply refuses it, as no leader proposes it."""
    shard = World.__new__(World)
    Shard.__init__(shard)
    shard.level = SURVIVORS_LEVEL - 1
    (shard.letters,) = shard.topic("letters")
    shard(append(batch_of(b"v"), shard.letters))
    assert shard.refusal(shard.copying(0)) is BadRequest


@pytest.mark.parametrize("cut", [1, 3, 30])
def test_copies_that_do_not_add_up_are_refused(world: World, cut: int) -> None:
    """No leader proposes them; but apply goes on."""
    whole = b"".join(bytes(part) for part in world.copying(0).parts)
    for part in (whole[:-cut], whole[:cut]):
        assert world.refusal(Command(CommandType.COPY_FORWARD, (part,))) is BadRequest
