"""Snapshots: written in slices, only when durable, and never trusted blindly at a start."""

from collections.abc import Callable

import pytest

from chaos.sim.disk import SimDisk
from raftlog.base.errors import IncompatibleFormat, RaftlogError, StorageFailed
from raftlog.base.ids import INDEX_ZERO, Index
from raftlog.broker import index, table
from raftlog.broker.index import RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.snapshot import is_snapshot
from raftlog.broker.topics import TopicChanges
from raftlog.service import snapshot
from raftlog.service.produce import ProduceService
from raftlog.service.snapshot import Snapshots, find_snapshot
from raftlog.storage.shard_files import FileKind, FileName, Verify
from raftlog.storage.snapshot_store import SnapshotStore, SnapshotWriting
from raftlog.wire.batch import Producer, encode_columns
from tests.broker.logs import FIRST
from tests.service.fakes import FakeReader, FakeReplica, FakeScheduler, topic_service


class World:
    """A shard on a simulated disk, with a range for each batch."""

    def __init__(self, scheduler: FakeScheduler | None = None) -> None:
        self.disk = SimDisk()
        self.store = SnapshotStore(self.disk.files(), "shard/snapshot")
        self.replica = FakeReplica()
        self.machine = self.replica.machine
        self.reader = FakeReader()
        self.durable = Index(0)
        self.failures: list[Exception] = []
        self.fetches: list[tuple[FileName, Verify]] = []
        self.snapshots = Snapshots(
            *(self.machine, self.store, self.reader, scheduler or FakeScheduler()),
            fetch=lambda name, verify, _: self.fetches.append((name, verify)),
            is_durable=lambda through: through <= self.durable,
            on_failed=self.failures.append,
        )
        self.topics = topic_service(self.replica, self.machine)
        self.produce = ProduceService(self.replica, self.machine)
        self.create("kept")

    def create(self, name: str) -> None:
        """Make a topic: one entry, and no cut."""
        self.topics.create(name, TopicChanges(queues=3), lambda _: None)
        self.replica.commit()

    def cut(self) -> Index:
        """Append a batch, which ends a range; return that range's last index."""
        who = Producer(1 << 16, base_sequence=self.machine.queues.find(FIRST).end_offset)
        batch = encode_columns([b"v"], timestamp_ms=5, producer=who)
        self.produce.append(FIRST, batch, lambda _: None)
        self.replica.commit()
        return self.machine.applied

    def save(self) -> Index:
        """Cut, and write the snapshot."""
        self.durable = self.cut()
        self.snapshots.progress()
        self.reader.run()
        return self.durable

    def restored(self, ranges: list[RangeSummary] | None = None) -> BrokerMachine:
        """Start again from the disk."""
        known = list(self.machine.ranges) if ranges is None else ranges
        machine = BrokerMachine()

        def chain(through: Index, after: Index) -> list[RangeSummary]:
            return [each for each in known if after < each.last_index <= through]

        found = find_snapshot(self.store, chain, INDEX_ZERO, self.machine.applied)
        if found is not None:
            machine.restore(found.ranges, found.snapshot)
        return machine


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "RANGE_POSTINGS", 1)


def test_a_machine_that_was_restored_is_the_one_that_was_saved() -> None:
    """Topics, producers, offsets: everything that the log decides."""
    world = World()
    world.create("orders")
    world.save()
    assert world.restored().digest() == world.machine.digest()


def test_what_came_after_the_cut_is_not_in_it() -> None:
    """The tables hold still at the cut, however long the writing takes."""
    world = World()
    world.create("orders")
    at = world.cut()
    digest = world.machine.digest()
    world.create("later")
    world.durable = at
    world.snapshots.progress()
    world.create("latest")
    world.reader.run()
    restored = world.restored()
    assert restored.applied == at
    assert restored.digest() == digest


def test_nothing_is_written_before_log_and_ranges_are_durable() -> None:
    """A snapshot ahead of its log would put a hole into it (ruling 14)."""
    world = World()
    at = world.cut()
    world.snapshots.progress()
    assert world.reader.run() == 0
    world.durable = at
    world.snapshots.progress()
    world.reader.run()
    assert world.store.indexes() == [at]


def test_one_is_written_at_a_time_and_the_newest_cut_comes_next() -> None:
    """What is cut while one is written is not held: it would cost memory for nothing."""
    world = World()
    world.durable = Index(99)
    first = world.cut()
    world.snapshots.progress()
    world.cut()
    world.cut()
    world.snapshots.progress()
    world.reader.run()
    last = world.save()
    assert world.store.indexes() == [last, first]
    assert world.snapshots.written == 2


def test_a_turn_of_the_loop_encodes_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows in one turn would stop heartbeats: slow pieces go out one by one."""
    monkeypatch.setattr(snapshot, "SLICE_NS", 0)
    world = World()
    for number in range(30):
        world.create(f"topic-{number}")
    world.durable = world.cut()
    world.snapshots.progress()
    writes = world.reader.run()
    assert writes > 4
    assert world.restored().digest() == world.machine.digest()


class SlowScheduler(FakeScheduler):
    """Each look at the clock takes a millisecond."""

    def now_ns(self) -> int:
        self.time_ns += 1_000_000
        return self.time_ns


def begun(scheduler: FakeScheduler, *, topics: int) -> World:
    """Begin a snapshot of some topics."""
    world = World(scheduler)
    for number in range(topics):
        world.create(f"topic-{number}")
    world.durable = world.cut()
    world.snapshots.progress()
    return world


def test_between_two_slices_the_loop_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """All replicas cut at one entry: written in one go, a million rows hold up what comes."""
    monkeypatch.setattr(table, "CHUNK_BYTES", 64)
    scheduler = SlowScheduler()
    world = begun(scheduler, topics=30)
    began_ns, slices, rested_ns = scheduler.time_ns, 0, 0
    while world.reader.run():
        for timer in scheduler.timers[:]:
            slices += 1
            rested_ns += timer.at_ns - scheduler.time_ns
            scheduler.advance(timer.at_ns - scheduler.time_ns)
    assert slices > 4
    assert rested_ns > 0.5 * (scheduler.time_ns - began_ns)
    assert world.restored().digest() == world.machine.digest()


def test_the_disk_is_left_to_others_for_as_long_as_a_slice_may_take_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was encoded before costs no time of the loop; the log's syncs would wait for it."""
    monkeypatch.setattr(snapshot, "PACED_BYTES", 100)
    scheduler = FakeScheduler()
    world = begun(scheduler, topics=30)
    world.reader.run()
    assert scheduler.armed == 1
    (timer,) = scheduler.timers
    scheduler.advance(timer.at_ns - scheduler.time_ns)
    world.reader.run()
    size = len(world.store.read(world.durable))
    assert size > 1_000
    assert scheduler.time_ns >= size // 100 * snapshot.PACED_NS


def test_a_snapshot_that_rests_stays_unfinished_when_the_node_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No timer is left, and nothing is written any more."""
    monkeypatch.setattr(table, "CHUNK_BYTES", 64)
    scheduler = SlowScheduler()
    world = begun(scheduler, topics=0)
    world.reader.run()
    assert scheduler.armed == 1
    world.snapshots.stop()
    assert scheduler.armed == 0
    assert world.store.indexes() == []


def test_tables_that_were_let_go_make_no_whole_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A is given up by an install, B is begun, and then A's last write fails."""
    world = World()
    world.create("orders")
    world.durable = world.cut()
    world.snapshots.progress()  # A
    world.reader.waiting.pop(0)()  # it has begun; a write of it is queued
    world.snapshots.restored()  # as the installer does
    assert world.machine._frozen is not None
    world.machine._frozen.end()  # as ``machine.restore`` does
    world.durable = world.cut()
    digest = world.machine.digest()
    world.snapshots.progress()  # B begins behind A's write

    def fails(*_: object) -> None:
        raise StorageFailed("pwrite", "x", 0, OSError(5, "EIO"))

    with monkeypatch.context() as patch:
        patch.setattr(SnapshotWriting, "write", fails)
        world.reader.waiting.pop(0)()
    assert len(world.failures) == 1  # the node is to stop ...
    world.reader.run()  # ... and goes on for some turns of its loop
    assert not world.store.indexes() or world.restored().digest() == digest


def test_rows_that_are_new_cost_no_long_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are passed over, some at a time, and nothing is written meanwhile."""
    monkeypatch.setattr(table, "KEYS_AT_ONCE", 4)
    scheduler = SlowScheduler()
    world = World(scheduler)
    world.durable = world.cut()
    digest = world.machine.digest()
    for number in range(40):
        world.create(f"new-{number:02}")
    world.snapshots.progress()
    while world.reader.run() or scheduler.armed:
        scheduler.advance(1_000_000_000)
    assert world.restored().digest() == digest


@pytest.mark.parametrize("call", ["open", "write", "fdatasync", "rename"])
def test_a_failed_write_stops_the_node(call: str) -> None:
    """And nothing is tried again (R2)."""
    world = World()

    def fail(operation: str, _path: str) -> None:
        if operation == call:
            raise OSError(5, "Input/output error")

    world.durable = world.cut()
    if call == "open":
        error = StorageFailed("open", "x", None, OSError(5, "Input/output error"))
        world.snapshots._store.begin = raising(error)  # type: ignore[method-assign]
    world.disk.on_operation = fail
    world.snapshots.progress()
    world.reader.run()
    assert [type(failure) for failure in world.failures] == [StorageFailed]
    world.cut()
    world.snapshots.progress()
    assert world.reader.run() == 0


def raising(error: RaftlogError) -> Callable[[Index], snapshot.SnapshotWriting]:
    """Return a ``begin`` that fails."""

    def begin(_index: Index) -> snapshot.SnapshotWriting:
        raise error

    return begin


def two_saved() -> tuple[World, Index, Index]:
    world = World()
    world.create("orders")
    first = world.save()
    world.create("more")
    return world, first, world.save()


def test_the_newest_one_is_taken() -> None:
    """The least is replayed."""
    world, _, second = two_saved()
    assert world.restored().applied == second


@pytest.mark.parametrize("offset", [0, 9, 40, -1, -20])
def test_a_rotten_one_is_passed_over_for_the_older(offset: int) -> None:
    """A bit anywhere: header, facts, rows, checksums."""
    world, first, second = two_saved()
    path = f"shard/snapshot/{second:020d}.tables"
    world.disk.flip_bit(path, offset % len(world.disk.content(path)), 3)
    assert world.restored().applied == first


@pytest.mark.parametrize("length", [0, 10, 60, -1])
def test_a_torn_one_is_passed_over_for_the_older(length: int) -> None:
    """Cut short at any place."""
    world, first, second = two_saved()
    path = f"shard/snapshot/{second:020d}.tables"
    file = world.disk.files().open(path)
    file.truncate(length % len(world.disk.content(path)) if length else 0)
    assert world.restored().applied == first


def test_one_under_another_s_name_is_passed_over() -> None:
    """A whole snapshot of another index passes its own checksums."""
    world, first, second = two_saved()
    name = "shard/snapshot/{:020d}.tables"
    world.disk.files().rename(name.format(first), name.format(second))
    assert world.restored().applied == 0


def test_one_beyond_the_log_is_passed_over() -> None:
    """The log lost what was durable: its ranges are not taken either."""
    world, first, _ = two_saved()
    ranges = [each for each in world.machine.ranges if each.last_index <= first]
    assert world.restored(ranges).applied == first


def test_without_any_the_log_is_replayed_from_its_beginning() -> None:
    """Ranges alone are not the state: tables belong to them."""
    world = World()
    world.cut()
    assert world.restored().applied == 0


def test_one_of_a_newer_raftlog_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no damage: this binary is too old for the directory."""
    world, _, _ = two_saved()
    monkeypatch.setattr("raftlog.broker.snapshot.SNAPSHOT_VERSION", 0)
    with pytest.raises(IncompatibleFormat):
        world.restored()


def test_a_scrub_finds_a_damaged_snapshot_and_fetches_it() -> None:
    """A peer's of the same index has the same bytes; any bit counts (ruling 18)."""
    world = World()
    first, second = world.save(), world.save()
    path = f"shard/snapshot/{first:020d}.tables"
    good = world.disk.content(path)
    told: list[bool] = []
    for offset in range(len(good)):
        world.disk.flip_bit(path, offset, offset % 8)
        world.snapshots.verify(0, told.append)
        world.snapshots.verify(1, told.append)
        world.reader.run()
        name, verify = world.fetches.pop()
        assert name == FileName(FileKind.SNAPSHOT, first)
        assert [verify(good), verify(world.disk.content(path))] == [True, False]
        world.disk.flip_bit(path, offset, offset % 8)
    assert told == [True, False] * len(good)
    other = world.disk.content(f"shard/snapshot/{second:020d}.tables")
    assert not is_snapshot(other, first), "a good snapshot of another index is another file"


def test_a_scrub_of_snapshots_that_are_not_there_finds_nothing() -> None:
    """A young shard has none."""
    world = World()
    told: list[bool] = []
    world.snapshots.verify(0, told.append)
    world.reader.run()
    assert (told, world.fetches, world.failures) == ([True], [], [])
