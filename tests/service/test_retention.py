"""Retention: the leader proposes what may be forgotten, a bounded part in each round."""

import pytest

from raftlog.base.errors import Unavailable
from raftlog.broker import index
from raftlog.broker.claims import ClaimQueue, CommitOffsets
from raftlog.broker.group_commands import (
    JoinGroup,
)
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.lease_commands import AckMessages, ReceiveMessages
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroupChanges
from raftlog.broker.topics import TopicChanges
from raftlog.service import retention
from raftlog.service.proposing import propose_unheard
from raftlog.service.retention import ROUND_NS, RetentionService
from raftlog.wire.batch import encode_columns
from tests.service.test_read import World as Shard

BATCH = encode_columns([b"a", b"b"], timestamp_ms=5)
SIZE = len(BATCH)


class World:
    """A leader of a shard; batches of two records are stored at the times a test says."""

    def __init__(self) -> None:
        self.shard = Shard()
        self.replica = self.shard.replica
        self.machine = self.replica.machine
        self.service = RetentionService(
            self.replica, self.machine, self.shard.ranges, self.shard.scheduler
        )
        self.service.begin()

    def store(self, queue: int, *times_ms: int) -> None:
        """Store a batch in a queue at each of the times."""
        for time_ms in times_ms:
            self.replica.log_time_ms = time_ms
            self.shard.store(BATCH, queue=queue)

    def round(self) -> None:
        """Let the leader look, and commit what it proposes."""
        self.shard.scheduler.advance(ROUND_NS)
        self.turn()
        if self.replica.proposed:
            self.replica.commit()

    def turn(self) -> None:
        """Do what waits for the next turns of the loop."""
        while self.shard.scheduler.soon:
            self.shard.scheduler.soon.pop(0)()

    def start(self, queue: int) -> int:
        """Return where a queue begins."""
        return self.machine.queues.find(queue).start_offset

    def seal(self) -> dict[RangeSummary, dict[int, Postings]]:
        """Let every sealed range be stored: its postings leave memory."""
        sealed = self.machine.take_sealed()
        for each in sealed:
            self.machine.stored(each.summary)
        return {each.summary: each.postings for each in sealed}


@pytest.fixture
def world() -> World:
    return World()


def test_batches_older_than_the_topic_s_time_are_forgotten(world: World) -> None:
    """Time is log time: the newest entry's, not this machine's clock."""
    (queue,) = world.shard.create("orders", retention_ms=1_000)
    world.store(queue, 5_000, 5_500, 6_000)
    world.round()
    assert world.start(queue) == 0
    world.store(queue, 6_400)
    world.round()
    assert world.start(queue) == 2
    world.store(queue, 60_000)
    world.round()
    assert world.start(queue) == 8


def test_a_queue_in_which_everything_is_old_becomes_empty(world: World) -> None:
    """Another queue's records make it old, too."""
    (queue,) = world.shard.create("orders", retention_ms=1_000)
    world.store(queue, 5_000)
    world.store(world.shard.queue, 60_000)
    world.round()
    assert world.start(queue) == 2


def test_what_is_leased_is_kept_and_nothing_is_proposed_for_it(world: World) -> None:
    """Else an entry would say so every second."""
    (queue,) = world.shard.create("orders", retention_ms=1_000)
    world.store(queue, 5_000)
    propose_unheard(world.replica, OpenQueueGroup("work", ("orders",), QueueGroupChanges()))
    propose_unheard(world.replica, ReceiveMessages("work", 11, 1, 3_600_000))
    world.replica.commit()
    world.store(queue, 60_000)
    world.round()
    assert (world.start(queue), world.service.moves) == (0, 0)
    propose_unheard(world.replica, AckMessages("work", ((11, queue, (0,)),)))
    world.replica.commit()
    world.round()
    assert (world.start(queue), world.service.moves) == (2, 1)


@pytest.mark.parametrize(
    ("retention_bytes", "kept"),
    [(1, 1), (SIZE, 1), (SIZE + 1, 2), (3 * SIZE, 3), (4 * SIZE, 4), (100 * SIZE, 4)],
)
def test_the_newest_batches_of_so_many_bytes_are_kept(
    world: World, retention_bytes: int, kept: int
) -> None:
    """At least so many: the bound is one of forgetting, not of storing."""
    (queue,) = world.shard.create("orders", retention_ms=0, retention_bytes=retention_bytes)
    world.store(queue, 1, 2, 3, 4)
    world.round()
    assert world.start(queue) == 2 * (4 - kept)


def test_time_and_bytes_both_forget(world: World) -> None:
    """Whichever goes further."""
    (queue,) = world.shard.create("orders", retention_ms=1_000, retention_bytes=2 * SIZE)
    world.store(queue, 5_000, 5_001, 5_002)
    world.round()
    assert world.start(queue) == 2
    world.store(queue, 9_000)
    world.round()
    assert world.start(queue) == 6


def test_a_topic_without_retention_keeps_everything(world: World) -> None:
    """Whatever the others get."""
    (queue,) = world.shard.create("orders", retention_ms=0, retention_bytes=0)
    world.store(queue, 5, 1 << 40)
    world.store(world.shard.queue, 1 << 41)
    world.round()
    assert (world.start(queue), world.start(world.shard.queue), world.service.moves) == (0, 0, 0)


def test_settings_that_change_hold_from_the_next_round_on(world: World) -> None:
    """Nobody has to restart anything."""
    (queue,) = world.shard.create("orders", retention_ms=0)
    world.store(queue, 1, 2, 3)
    changes = TopicChanges(retention_bytes=SIZE)
    world.shard.topics.alter("orders", changes, lambda _: None)
    world.replica.commit()
    world.round()
    assert world.start(queue) == 4


def test_only_the_leader_proposes(world: World) -> None:
    """Three proposals of the same would be two too many."""
    (queue,) = world.shard.create("orders", retention_bytes=1)
    world.store(queue, 1, 2, 3)
    world.service.end()
    world.round()
    assert (world.start(queue), world.shard.scheduler.armed) == (0, 0)
    world.service.begin()
    world.round()
    assert world.start(queue) == 4


def test_a_round_looks_at_some_queues_and_the_next_at_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty thousand queues in one turn of the loop would stop heartbeats."""
    monkeypatch.setattr(retention, "QUEUES_PER_ROUND", 3)  # the shard's first topic counts, too
    queues = world.shard.create("orders", 5, retention_bytes=1)
    for queue in queues:
        world.store(queue, 1, 2)
    moved = []
    for _ in range(4):
        world.round()
        moved.append(sum(world.start(queue) > 0 for queue in queues))
    assert moved[0] == 2
    assert moved == sorted(moved)
    for _ in range(3):
        world.round()
    assert all(world.start(queue) == 2 for queue in queues)


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch makes a range of its own."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 1)


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("changes", [{"retention_ms": 1_000}, {"retention_bytes": 2 * SIZE}])
def test_a_stored_range_is_read_off_the_loop(changes: dict[str, int]) -> None:
    """It says at which of its batches the boundary is."""
    world = World()
    (queue,) = world.shard.create("orders", **changes)
    world.store(queue, 5_000, 5_400, 6_000, 6_200)
    postings = world.seal()
    world.round()
    while world.shard.ranges.loads:
        summary, done = world.shard.ranges.loads.pop(0)
        done(postings[summary][queue], None)
        world.turn()
    world.replica.commit()
    assert world.start(queue) == (2 if "retention_ms" in changes else 4)


@pytest.mark.usefixtures("small_ranges")
def test_a_range_that_cannot_be_read_forgets_nothing() -> None:
    """It is damaged here, and retention can wait; the other queues go on."""
    world = World()
    first, second = world.shard.create("orders", 2, retention_ms=1_000)
    world.store(first, 5_000)
    world.store(second, 5_000)
    world.store(first, 6_000)
    world.seal()
    world.store(second, 6_001)
    world.round()
    ((_, done),) = world.shard.ranges.loads
    done(None, Unavailable("damaged"))
    world.turn()
    world.replica.commit()
    assert (world.start(first), world.start(second)) == (0, 2)


@pytest.mark.usefixtures("small_ranges")
def test_reads_of_ranges_are_bounded_in_a_round_and_go_on_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reader thread is there for consumers first."""
    monkeypatch.setattr(retention, "LOADS_PER_ROUND", 1)
    world = World()
    queues = world.shard.create("orders", 3, retention_ms=1_000)
    for queue in queues:
        world.store(queue, 5_000)
    for queue in queues:
        world.store(queue, 6_001)
    postings = world.seal()
    for queue in queues:
        world.round()
        ((summary, done),) = world.shard.ranges.loads
        world.shard.ranges.loads.clear()
        done(postings[summary][queue], None)
        world.turn()
        world.replica.commit()
        assert world.start(queue) == 2


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("reign_ends", [True, False])
def test_what_comes_from_the_disk_too_late_is_dropped(*, reign_ends: bool) -> None:
    """The leadership may be lost, or the topic deleted, while a range is read."""
    world = World()
    (queue,) = world.shard.create("orders", retention_ms=1_000)
    world.store(queue, 5_000, 6_001)
    postings = world.seal()
    world.round()
    ((summary, done),) = world.shard.ranges.loads
    if reign_ends:
        world.service.end()
    else:
        world.shard.topics.delete("orders", lambda _: None)
        world.replica.commit()
    done(postings[summary][queue], None)
    world.turn()
    assert world.replica.proposed == 0


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("topic_is_new", [False, True])
def test_settings_that_change_while_a_range_is_read_hold(*, topic_is_new: bool) -> None:
    """Whoever was told that a topic keeps everything loses nothing to the settings before."""
    world = World()
    (queue,) = world.shard.create("orders", retention_ms=1_000)
    world.store(queue, 5_000, 6_001)
    postings = world.seal()
    world.round()
    ((summary, done),) = world.shard.ranges.loads
    if topic_is_new:
        world.shard.topics.delete("orders", lambda _: None)
        world.shard.create("orders", retention_ms=0)
    else:
        world.shard.topics.alter("orders", TopicChanges(retention_ms=0), lambda _: None)
        world.replica.commit()
    done(postings[summary][queue], None)
    world.turn()
    assert world.replica.proposed == 0


def test_what_every_group_has_committed_goes_before_its_time(world: World) -> None:
    """And what one has not stays until the bound of time or bytes (ruling 29)."""
    (queue,) = world.shard.create("orders", retention_ms=10_000, until_consumed=True)
    world.store(queue, 5_000, 5_100, 5_200)
    world.round()
    assert world.start(queue) == 0, "nobody has read anything"
    for group, offset in (("a", 4), ("b", 2)):
        propose_unheard(world.replica, JoinGroup(group, "m", ("orders",), 1_000))
        world.replica.commit()
        generation = world.machine.groups.find(group).generation
        propose_unheard(world.replica, ClaimQueue(group, queue, generation, "m"))
        offsets = ((queue, offset),)
        propose_unheard(world.replica, CommitOffsets(group, "m", generation, offsets))
        world.replica.commit()
    world.round()
    assert world.start(queue) == 2
    world.store(queue, 15_150)
    world.round()
    assert world.start(queue) == 4, "by time, whoever has not read it"
