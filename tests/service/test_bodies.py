"""Batches from a real store: verified one by one, a bad one never served."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from raftlog.base.errors import FaultyEntry, RaftlogError
from raftlog.base.ids import Index, Term
from raftlog.base.writes import HardState
from raftlog.broker.index import Postings
from raftlog.broker.queues import OFFSET_ZERO
from raftlog.broker.topics import TopicChanges
from raftlog.service.bodies import BodyReader
from raftlog.service.produce import ProduceService
from raftlog.storage.files import OsFiles
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.new_log import create_log
from raftlog.storage.span import BodySpan, Place
from raftlog.wire.batch import encode_columns
from tests.broker.logs import FIRST
from tests.service.fakes import FakeReader, FakeReplica, topic_service

BATCHES = [encode_columns([bytes([65 + n]) * 50], timestamp_ms=5) for n in range(6)]


class World:
    """A topic in entry 1, then three stored entries of two batches each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.replica = FakeReplica()
        topics = topic_service(self.replica, self.replica.machine)
        topics.create("t", TopicChanges(queues=1), lambda _: None)
        self.replica.commit()
        append = ProduceService(self.replica, self.replica.machine)
        for number, batch in enumerate(BATCHES):
            append.append(FIRST, batch, lambda _: None)
            if number % 2:
                self.replica.commit()
        files = OsFiles()
        options = StoreOptions()
        create_log(files, str(path), options, HardState(Term(3)), self.replica.entries)
        self.store = LogStore.open(files, str(path), options)
        self.reader = FakeReader()
        self.bodies = BodyReader(self.store, self.reader, self.replica)
        self.answers: list[tuple[list[bytes], RaftlogError | None]] = []

    def read(self, places: Sequence[int]) -> tuple[list[bytes], str]:
        """Read places; return the batches and the error's code."""
        found = self.replica.machine.find(FIRST, OFFSET_ZERO)
        assert isinstance(found, Postings)
        at = [
            Place(Index(index), position, length)
            for number in places
            for index, position, length in found.places(number, number + 1)
        ]
        self.bodies.read(
            at,
            lambda batches, error: self.answers.append((list(map(bytes, batches)), error)),
        )
        self.reader.run()
        batches, error = self.answers.pop()
        return batches, error.code if error else ""

    def damage(self, number: int, byte: int) -> None:
        """Flip one bit of batch ``number`` on disk."""
        (segment,) = (self.path / "log").glob("*.seg")
        data = bytearray(segment.read_bytes())
        data[data.index(BATCHES[number]) + byte] ^= 1
        segment.write_bytes(data)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("order", [(5, 0, 1, 4), (3, 2, 1, 0), (0, 1, 4, 5, 2, 3)])
def test_batches_that_lie_in_another_order_are_read_too(
    world: World, order: tuple[int, ...]
) -> None:
    """What was hidden for a while lies before what was visible before it."""
    assert world.read(order) == ([BATCHES[each] for each in order], "")


def test_a_bad_batch_in_another_order_ends_what_is_served(world: World) -> None:
    """The good ones before it, in the order of the queue, are an answer."""
    world.damage(1, 130)
    assert world.read((4, 0, 1, 2)) == ([BATCHES[4], BATCHES[0]], "")
    assert world.read((1, 0)) == ([], "faulty_entry")


@pytest.mark.parametrize("places", [range(6), range(1), range(3, 6), range(5, 6)])
def test_a_span_of_the_file_is_sliced_into_its_batches(world: World, places: range) -> None:
    """Near postings are one read (ruling 17)."""
    assert world.read(places) == (BATCHES[places.start : places.stop], "")


def test_what_the_page_cache_does_not_have_is_read_off_the_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cold consumer must not stop heartbeats."""
    real = BodySpan.read
    monkeypatch.setattr(
        BodySpan, "read", lambda span, *, wait: real(span, wait=wait) if wait else None
    )
    assert world.read(range(6)) == (BATCHES, "")
    assert world.bodies.reads_on_thread == 1


@pytest.mark.parametrize("byte", [4, 100])
@pytest.mark.parametrize("number", range(6))
def test_good_batches_before_a_bad_one_are_served_and_its_entry_is_marked(
    world: World, number: int, byte: int
) -> None:
    """What is good is an answer; what is bad is never served, and has a peer's copy fetched.

    Also where the batch's own checksum does not reach: in its base offset (seed 84).
    """
    world.damage(number, byte)
    expected = (BATCHES[:number], "") if number else ([], "faulty_entry")
    assert world.read(range(6)) == expected
    assert world.replica.marked_faulty == [2 + number // 2]


def test_a_place_in_an_entry_that_is_known_to_be_bad_is_an_error(world: World) -> None:
    """It is being repaired; reading it again changes nothing."""
    world.store.mark_faulty(world.replica.entries[2].index)
    assert world.read(range(2, 4)) == ([], "faulty_entry")


def test_a_failed_read_is_damage_and_not_the_end_of_the_node(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO of one sector: a peer has another copy (ruling 2)."""

    def fail(_span: BodySpan, *, wait: bool) -> list[memoryview] | None:
        del wait
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(BodySpan, "read", fail)
    assert world.read(range(6)) == ([], "faulty_entry")
    assert world.replica.marked_faulty == [2]


def fails_late(wait_only: Callable[[], None]) -> Callable[..., list[memoryview] | None]:
    def read(_span: BodySpan, *, wait: bool) -> list[memoryview] | None:
        if wait:
            wait_only()
            raise OSError(5, "Input/output error")
        return None

    return read


def test_a_read_that_fails_on_the_reader_thread_is_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was read makes no difference to what it means."""
    waited: list[bool] = []
    monkeypatch.setattr(BodySpan, "read", fails_late(lambda: waited.append(True)))
    assert world.read(range(6)) == ([], FaultyEntry.code)
    assert waited == [True]
