"""Where records lie, for each queue by itself: by offset, by time, by bytes."""

import pytest

from raftlog.base.ids import Offset
from raftlog.broker import index
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.invariants import check
from raftlog.broker.queue_index import Found
from raftlog.broker.ranges import parse_range
from raftlog.broker.topics import DeleteTopic, MoveStart
from raftlog.broker.trims import Trim
from tests.broker.logs import Shard, append, batch_of

BATCHES = 40


class World(Shard):
    """Three queues with a batch every 10 ms in turn, the third one seldom; ranges of nine."""

    def __init__(self) -> None:
        super().__init__()
        self.queues = self.topic(queues=3)
        self.files: dict[int, dict[int, Postings]] = {}
        self.sent: list[tuple[int, int, int, int]] = []
        """Queue, log time, base offset, bytes of each batch."""

    def fill(self) -> "World":
        for number in range(BATCHES):
            queue = self.queues[2 if number % 11 == 7 else number % 2]
            self.log_time_ms = 1_000 + number * 10
            batch = batch_of(*[b"v" * number] * (1 + number % 3))
            row = self.machine.queues.find(queue)
            self.sent.append((queue, self.log_time_ms, row.end_offset, len(batch)))
            self(append(batch, queue))
        return self

    def store(self) -> "World":
        for item in self.machine.take_sealed():
            self.files[item.summary.first_index] = parse_range(item.encoded)[1]
            self.machine.stored(item.summary)
        return self

    def postings(self, queue: int, found: Found) -> Postings:
        if isinstance(found, RangeSummary):
            return self.files[found.first_index][queue]
        return found

    def batches(self, queue: int) -> list[tuple[int, int, int]]:
        """Log time, base offset, bytes."""
        return [row[1:] for row in self.sent if row[0] == queue]


@pytest.fixture(params=[False, True], ids=["unstored", "stored"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(index, "RANGE_POSTINGS", 9)
    made = World().fill()
    return made.store() if request.param else made


def test_every_offset_of_every_queue_is_found(world: World) -> None:
    """A queue's ranges are its own: another's offsets in the same range must not mislead."""
    check(world.machine)
    for queue in world.queues:
        for _, base, _ in world.batches(queue):
            found = world.postings(queue, world.machine.find(queue, Offset(base)))
            assert found[found.find(Offset(base))].base_offset == base


def test_the_first_batch_at_or_after_a_log_time_is_in_the_range_that_is_found(
    world: World,
) -> None:
    """Seek by time and retention by time both go by it; one range off is hours off."""
    for queue in world.queues:
        for time_ms in range(990, 1_420, 5):
            expected = [base for at, base, _ in world.batches(queue) if at >= time_ms][:1]
            found = world.machine.find_time(queue, time_ms)
            if found is None:
                assert expected == []
                continue
            postings = world.postings(queue, found)
            first = next(at for at in range(len(postings)) if postings.log_times_ms[at] >= time_ms)
            assert [postings[first].base_offset] == expected


def test_the_newest_bytes_begin_in_the_range_that_is_found(world: World) -> None:
    """Retention by bytes keeps at least so many, and forgets what is before."""
    for queue in world.queues:
        rows = world.batches(queue)
        total = sum(size for _, _, size in rows)
        assert world.machine.batch_bytes(queue) == total
        assert world.machine.find_bytes(queue, total) is None
        for size in range(0, total, 37):
            found = world.machine.find_bytes(queue, size)
            assert found is not None
            where, behind = found
            postings = world.postings(queue, where)
            assert behind <= size < behind + postings.batch_bytes or behind == size
            newer = [row for row in rows if row[1] >= postings.end_offset]
            assert sum(row[2] for row in newer) == behind


def test_a_queue_without_records_has_nothing_to_find() -> None:
    """A new topic is asked for its retention, too."""
    shard = Shard()
    (queue,) = shard.topic()
    assert shard.machine.find_time(queue, 0) is None
    assert shard.machine.find_bytes(queue, 0) is None
    assert shard.machine.batch_bytes(queue) == 0


def test_records_of_a_deleted_topic_stay_in_the_files_and_leave_the_directory(
    world: World,
) -> None:
    """Files are the same bytes everywhere, whenever the topic went."""
    one = world.queues[0]
    (other,) = world.topic("other")
    world(DeleteTopic("orders"))
    for _ in range(20):
        world(append(batch_of(b"a"), other))
    sealed = world.machine.take_sealed()
    assert any(span.queue == one for item in sealed for span in item.summary.queues)
    assert world.machine.find_time(one, 0) is None
    check(world.machine)


def test_the_oldest_range_that_is_needed_is_named_with_who_needs_it(world: World) -> None:
    """All who have records there, with the time of their newest; who has passed it is not."""
    needed = world.machine.oldest_needed()
    assert needed is not None
    assert (needed.first_index, needed.last_index) == (1, 10)
    first_nine = world.sent[:9]
    newest = {queue: at_ms for queue, at_ms, _, _ in first_nine}
    assert needed.queues == newest
    first, second, third = world.queues
    for queue in (first, third):
        world(MoveStart(queue, world.machine.queues.find(queue).end_offset))
    needed = world.machine.oldest_needed()
    assert needed is not None
    assert needed.queues == {second: newest[second]}


def test_the_oldest_range_that_is_needed_follows_what_is_free(world: World) -> None:
    """The two are one look: where the free ranges end the needed one begins."""
    for queue in world.queues:
        row = world.machine.queues.find(queue)
        for start in range(row.start_offset, row.end_offset + 1, 4):
            world(MoveStart(queue, start))
            free, _ = world.machine.free_through()
            needed = world.machine.oldest_needed()
            assert needed is None or needed.first_index == free + 1
    for queue in world.queues:
        world(MoveStart(queue, world.machine.queues.find(queue).end_offset))
    assert world.machine.oldest_needed() is None


def test_what_was_trimmed_has_no_bytes_any_more(world: World) -> None:
    """Nobody can need it."""
    queue = world.queues[0]
    before = world.machine.batch_bytes(queue)
    for each in world.queues:
        world(MoveStart(each, world.machine.queues.find(each).end_offset))
    free, _ = world.machine.free_through()
    world(Trim(free))
    assert world.machine.batch_bytes(queue) < before
