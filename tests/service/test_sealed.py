"""Sealed ranges: on disk only when their log is, loaded once for many readers."""

from collections.abc import Callable

import pytest

from raftlog.base.errors import DamagedLog, RaftlogError, StorageFailed, Unavailable
from raftlog.base.ids import Index, Offset
from raftlog.broker import index
from raftlog.broker.index import Postings, RangeSummary
from raftlog.broker.ranges import parse_range
from raftlog.broker.topics import TopicChanges
from raftlog.service.produce import ProduceService
from raftlog.service.sealed import LATER_NS, SealedRanges
from raftlog.storage.shard_files import FileKind, FileName, Verify
from raftlog.wire.batch import encode_columns
from tests.broker.logs import FIRST
from tests.service.fakes import FakeReader, FakeReplica, FakeScheduler, topic_service

BATCH = encode_columns([b"a"], timestamp_ms=5)


class FakeFiles:
    """The files of the index."""

    def __init__(self) -> None:
        self.files: dict[Index, bytes] = {}
        self.reads = 0
        self.loaded: dict[Index, dict[int, Postings]] = {}
        self.error: RaftlogError | None = None

    def store(self, first_index: Index, data: bytes) -> None:
        """Keep it, or fail."""
        if self.error is not None:
            raise self.error
        self.files[first_index] = data

    def read(self, first_index: Index) -> tuple[RangeSummary, dict[int, Postings]]:
        """Parse it, or fail."""
        self.reads += 1
        if self.error is not None:
            raise self.error
        return parse_range(self.files[first_index])

    def cached(self, first_index: Index) -> dict[int, Postings] | None:
        """Return what was kept."""
        return self.loaded.get(first_index)

    def keep(self, first_index: Index, content: dict[int, Postings]) -> None:
        """Keep it."""
        self.loaded[first_index] = content


class World:
    """A shard of one queue whose ranges have one posting each; entry 1 made the topic."""

    def __init__(self) -> None:
        self.replica = FakeReplica()
        self.reader = FakeReader()
        self.scheduler = FakeScheduler()
        self.files = FakeFiles()
        self.durable = Index(0)
        self.fetches: list[tuple[FileName, Verify, Callable[[Exception | None], None]]] = []
        self.failures: list[Exception] = []
        self.sealed = SealedRanges(
            self.replica.machine,
            self.files,  # type: ignore[arg-type]  # the same four methods
            self.reader,
            self.scheduler,
            durable=lambda: self.durable,
            fetch=self.fetch,
            on_failed=self.failures.append,
        )
        self.replica.on_applied(lambda _: self.sealed.progress())
        self.append = ProduceService(self.replica, self.replica.machine)
        changes = TopicChanges(queues=1)
        topic_service(self.replica, self.replica.machine).create("t", changes, lambda _: None)
        self.replica.commit()

    def fetch(
        self, name: FileName, verify: Verify, done: Callable[[Exception | None], None]
    ) -> None:
        """Keep what is asked of peers."""
        self.fetches.append((name, verify, done))

    def refuse(self) -> None:
        """No peer has what is asked for."""
        ((_, _, done),) = self.fetches
        done(Unavailable("no peer has it"))

    def store(self, count: int) -> None:
        """Commit ``count`` entries of one batch each."""
        for _ in range(count):
            self.append.append(FIRST, BATCH, lambda _: None)
            self.replica.commit()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(index, "RANGE_POSTINGS", 1)
    return World()


def test_a_range_is_stored_only_when_the_log_is_durable_up_to_its_end(world: World) -> None:
    """A leader applies before its own disk has the entry; an index ahead of it is a hole."""
    world.store(3)
    assert world.reader.run() == 0
    world.durable = Index(3)
    world.sealed.progress()
    world.reader.run()
    assert sorted(world.files.files) == [1, 3]


def test_a_range_that_ends_with_the_last_entry_is_stored_when_that_is_durable(
    world: World,
) -> None:
    """Nothing is applied after it that would look again; a restart would replay all of it."""
    world.store(1)
    world.scheduler.advance(LATER_NS)
    assert world.reader.run() == 0
    world.durable = Index(2)
    world.scheduler.advance(LATER_NS)
    world.reader.run()
    assert (sorted(world.files.files), world.scheduler.armed) == ([1], 0)


def test_a_stopped_node_looks_no_more(world: World) -> None:
    """No timer of the service is left behind."""
    world.store(1)
    world.sealed.stop()
    world.store(1)
    assert world.scheduler.armed == 0


def test_a_range_is_answered_from_memory_until_it_is_stored(world: World) -> None:
    """There is no moment in which nobody has it."""
    world.store(1)
    assert isinstance(world.replica.machine.find(FIRST, Offset(0)), Postings)
    world.durable = Index(2)
    world.sealed.progress()
    assert isinstance(world.replica.machine.find(FIRST, Offset(0)), Postings)
    world.reader.run()
    assert isinstance(world.replica.machine.find(FIRST, Offset(0)), RangeSummary)


def test_a_failed_write_stops_the_node_and_is_not_tried_again(world: World) -> None:
    """After a failed fsync the page cache lies (R2)."""
    error = StorageFailed("fdatasync", "x.qx", None, OSError(5, "I/O error"))
    world.files.error = error
    world.durable = Index(9)
    world.store(2)
    world.reader.run()
    world.sealed.progress()
    assert (world.failures, world.reader.waiting) == ([error], [])


def stored(world: World, count: int) -> Callable[[int], list[Postings | RaftlogError]]:
    """Store ``count`` ranges; return a way to load one, which gives what readers were told."""
    world.durable = Index(count + 1)
    world.store(count)
    world.reader.run()
    told: list[Postings | RaftlogError] = []

    def load(offset: int) -> list[Postings | RaftlogError]:
        summary = world.replica.machine.find(FIRST, Offset(offset))
        assert isinstance(summary, RangeSummary)
        world.sealed.load(
            summary,
            FIRST,
            lambda found, error: told.extend(each for each in (found, error) if each),
        )
        return told

    return load


def test_readers_of_one_range_share_one_look_at_the_disk(world: World) -> None:
    """A thousand consumers that start again ask for the same range at once."""
    load = stored(world, 2)
    load(1)
    assert load(1) == []
    world.reader.run()
    told = load(1)
    assert [type(each) for each in told] == [Postings] * 3
    assert world.files.reads == 1


def test_a_damaged_range_is_an_error_for_the_reader_and_no_stop(world: World) -> None:
    """A read error is not a write error: another node has the same range (R3)."""
    load = stored(world, 1)
    world.files.error = DamagedLog("bad")
    told = load(0)
    world.reader.run()
    world.refuse()
    assert ([getattr(each, "code", "") for each in told], world.failures) == (["unavailable"], [])


def test_a_damaged_range_is_fetched_from_a_peer_before_its_readers_are_answered(
    world: World,
) -> None:
    """They notice no more than a delay; who comes meanwhile waits, too (ruling 3)."""
    load = stored(world, 1)
    good = world.files.files[Index(1)]
    world.files.error = DamagedLog("bad")
    load(0)
    world.reader.run()
    told = load(0)
    ((name, verify, done),) = world.fetches
    assert name == FileName(FileKind.RANGE, Index(1))
    assert [verify(good), verify(good[:-1]), verify(b"")] == [True, False, False]
    world.files.error = None
    done(None)
    world.reader.run()
    assert [type(each) for each in told] == [Postings] * 2


def test_a_range_that_is_damaged_again_at_once_is_an_error(world: World) -> None:
    """A disk that spoils what is written: no fetch without end."""
    load = stored(world, 1)
    world.files.error = DamagedLog("bad")
    told = load(0)
    world.reader.run()
    ((_, _, done),) = world.fetches
    done(None)
    world.reader.run()
    assert [getattr(each, "code", "") for each in told] == ["unavailable"]
    assert len(world.fetches) == 1


def test_a_scrub_fetches_what_it_finds(world: World) -> None:
    """And says whether the range was good."""
    load = stored(world, 2)
    assert load(0) == []
    world.reader.run()
    summary = world.replica.machine.find(FIRST, Offset(0))
    assert isinstance(summary, RangeSummary)
    told: list[bool] = []
    world.sealed.verify(summary, told.append)
    world.reader.run()
    world.files.error = DamagedLog("bad")
    world.sealed.verify(summary, told.append)
    world.reader.run()
    assert (told, len(world.fetches)) == ([True, False], 1)


def test_a_range_with_another_checksum_than_the_machine_s_is_damage(world: World) -> None:
    """A whole file from another log passes its own checksums."""
    load = stored(world, 2)
    other = World()
    other.durable = Index(2)
    other.append.append(FIRST, encode_columns([b"x", b"y"], timestamp_ms=5), lambda _: None)
    other.replica.commit()
    other.reader.run()
    world.files.files[Index(1)] = other.files.files[Index(1)]
    told = load(0)
    world.reader.run()
    world.refuse()
    assert [getattr(each, "code", "") for each in told] == ["unavailable"]
