"""Burying: every dead message becomes a letter, or somebody is told why not."""

import pytest

from raftlog.base.errors import CodecUnavailable
from raftlog.base.ids import Offset
from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.broker.topics import TopicChanges
from raftlog.service.burying import AT_ONCE_MAX, RETRY_NS
from raftlog.service.read import ReadRequest, ReadResult
from raftlog.wire.batch import Batch, Record, encode_columns
from tests.service.test_receiving import A, World


@pytest.fixture
def world() -> World:
    world = World(attempts_max=1)
    world.burying.begin()
    return world


def die(world: World, count: int) -> None:
    """Let the first messages of the queue fail."""
    world.receive(A, count)
    world.turn()
    world.give_back(A, *range(count))


def letters(world: World) -> list[Record]:
    """Return what is in the group's dead-letter topic."""
    topic = world.replica.machine.topics.get("%DLQ%work")
    if topic is None:
        return []
    found: list[object] = []
    world.service.read(ReadRequest(topic.queues[0], Offset(0), 1 << 30), found.append)
    (read,) = found
    assert isinstance(read, ReadResult)
    return [record for batch in read.batches for record in Batch(batch).records()]


def test_a_record_without_room_for_more_headers_is_a_letter_without_them(world: World) -> None:
    """It was one of a batch, and stayed dead and in flight for ever."""
    large = bytes(BATCH_BYTES_MAX - 200)
    world.store(encode_columns([large, b"x"], [b"k", None], timestamp_ms=5))
    die(world, 2)
    first, second = letters(world)
    assert (first.value, first.key, first.headers) == (large, b"k", ())
    assert len(second.headers) > 0
    assert world.burying.alarm is None


def test_what_cannot_be_buried_is_an_alarm_until_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codec that this node lacks, say. It is tried again, more and more rarely."""
    world.store(encode_columns([b"0", b"1"], timestamp_ms=5, codec="zstd"))
    with monkeypatch.context() as lacking:
        lacking.setattr("raftlog.service.burying.letter_of", _refuse)
        die(world, 1)
        alarm = world.burying.alarm
        assert alarm is not None
        assert "group 'work'" in alarm
        assert "no package" in alarm
        assert alarm.startswith("1 message")
        world.scheduler.advance(RETRY_NS)
        world.turn()
        assert world.burying.alarm == alarm
    world.scheduler.advance(2 * RETRY_NS)
    world.turn()
    assert [letter.value for letter in letters(world)] == [b"0"]
    assert world.burying.alarm is None


def test_many_are_buried_one_after_the_other(world: World) -> None:
    """More than are under way at once."""
    count = 2 * AT_ONCE_MAX + 1
    world.send(*[b"v"] * count)
    die(world, count)
    world.turn()
    assert len(letters(world)) == world.burying.buried == count


def test_what_lies_in_a_topic_that_cannot_be_read_waits_for_it(world: World) -> None:
    """Nothing of it is lost."""
    world.send(b"0")
    world.receive(A)
    world.turn()
    world.readable(False)
    world.give_back(A, 0)
    assert world.burying.alarm is not None
    world.topics.alter("first", TopicChanges(readable=True), lambda _: None)
    world.turn()
    world.scheduler.advance(RETRY_NS)
    world.turn()
    assert len(letters(world)) == 1


def _refuse(*_: object) -> bytes:
    raise CodecUnavailable("no package")
