"""Reading through a filter: bounded work, progress without a match, no silent omission."""

import pytest

from raftlog.base.errors import (
    BadFilter,
    CodecUnavailable,
    NotPermitted,
    OffsetOutOfRange,
    RaftlogError,
    WrongQueue,
)
from raftlog.base.ids import Offset
from raftlog.service import filtering
from raftlog.service.filtering import FilteredReading, FilteredResult, FilterService
from raftlog.service.read import ReadRequest
from raftlog.wire import codecs
from raftlog.wire.batch import Record, encode_batch
from raftlog.wire.filters import record_filter
from tests.service.fakes import FakeReader
from tests.service.test_read import SECOND, World


def batch(*tags: str | None, codec: str = "none", size: int = 1) -> bytes:
    """One record for each tag; its header ``n`` is its number."""
    records = [
        Record(b"v" * size, tag=tag, headers=[("n", b"%d" % number)])
        for number, tag in enumerate(tags)
    ]
    return encode_batch(records, timestamp_ms=1, codec=codec)


class Filtering:
    """A shard whose reader thread works when it is told to."""

    def __init__(self) -> None:
        self.world = World()
        self.reader = FakeReader()
        self.service = FilterService(self.world.service, self.reader)
        self.answers: list[FilteredResult | RaftlogError] = []

    def store(self, *batches: bytes) -> None:
        for each in batches:
            self.world.store(each)

    def ask(
        self,
        offset: int,
        *tags: str,
        condition: str = "",
        wait_ns: int = 0,
        bytes_max: int = 1 << 20,
        queue: int | None = None,
    ) -> FilteredReading:
        request = ReadRequest(
            queue or self.world.queue, Offset(offset), bytes_max, wait_ns=wait_ns
        )
        wanted = record_filter(tags, condition)
        return self.service.read(request, wanted, self.answers.append)

    def answer(self) -> FilteredResult:
        (found,) = self.answers
        assert isinstance(found, FilteredResult), found
        self.answers.clear()
        return found

    def refusal(self) -> RaftlogError:
        (found,) = self.answers
        assert isinstance(found, RaftlogError), found
        self.answers.clear()
        return found


def test_whole_batches_come_and_which_of_their_records_match() -> None:
    """As they are stored, byte by byte; those without a match stay where they are."""
    it = Filtering()
    first, second, third = batch("a", "b"), batch("b", "b"), batch("b", "a", "a")
    it.store(first, second, third)
    it.ask(0, "a")
    assert it.answers == [], "the work is done off the loop"
    it.reader.run()
    found = it.answer()
    assert [bytes(each) for each in found.read.batches] == [first, third]
    assert list(found.read.base_offsets) == [0, 4]
    assert [list(each) for each in found.matching] == [[0], [1, 2]]
    assert found.next_offset == 7
    it.ask(6, condition="n >= 1")
    it.reader.run()
    found = it.answer()
    assert [list(each) for each in found.matching] == [[2]], "what is before the offset is known"


def test_a_long_stretch_without_a_match_is_passed_over_piece_by_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request ends within its bound and says how far it looked: the next one goes on there."""
    monkeypatch.setattr(filtering, "PIECE_RECORDS", 10)
    monkeypatch.setattr(filtering, "LOOKED_RECORDS_MAX", 40)
    it = Filtering()
    it.store(*[batch(*["b"] * 5) for _ in range(40)], batch("a"))
    offset, asked = 0, 0
    while True:
        it.ask(offset, "a", wait_ns=9 * SECOND)
        pieces = it.reader.run()
        found = it.answer()
        asked += 1
        assert pieces <= 5
        assert found.next_offset > offset
        offset = found.next_offset
        if found.read.batches:
            break
    assert asked == 6
    assert [list(each) for each in found.matching] == [[0]]
    assert offset == 201


@pytest.mark.parametrize(
    ("bound", "value"),
    [("LOOKED_BYTES_MAX", 1_000), ("OPENED_BYTES_MAX", 100), ("LOOKED_RECORDS_MAX", 1)],
)
def test_each_bound_ends_a_request(
    monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    """Small records, large ones, and ones that open to much."""
    monkeypatch.setattr(filtering, bound, value)
    monkeypatch.setattr(filtering, "PIECE_BYTES", 1)
    it = Filtering()
    it.store(*[batch("b", size=300) for _ in range(30)])
    it.ask(0, condition="n = 7")
    it.reader.run()
    assert 0 < it.answer().next_offset < 30


def test_what_opens_to_much_ends_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kilobyte may open to megabytes: the thread is not held by a thousand of them."""
    monkeypatch.setattr(filtering, "PIECE_OPENED_BYTES", 10_000)
    it = Filtering()
    it.store(*[batch("a", size=9_000, codec="zstd") for _ in range(6)])
    it.ask(0, condition="n = 7")
    assert it.reader.run() == 3


def test_at_the_end_a_match_is_waited_for_and_no_other_record_wakes_the_reader() -> None:
    """A long poll goes on over what does not match, until its time is up."""
    it = Filtering()
    it.store(batch("b"))
    it.ask(0, "a", wait_ns=SECOND)
    it.reader.run()
    assert it.answer().next_offset == 1, "what was passed over is told before a wait"
    it.ask(1, "a", wait_ns=9 * SECOND)
    it.world.scheduler.advance(2 * SECOND)
    it.store(batch("b"))
    it.reader.run()
    assert it.answers == []
    it.store(batch("a"))
    it.reader.run()
    found = it.answer()
    assert list(found.read.base_offsets) == [2]
    it.ask(3, "a", wait_ns=9 * SECOND)
    it.store(batch("b"))
    it.reader.run()
    assert it.answers == []
    it.world.scheduler.advance(SECOND)
    found = it.answer()
    assert (list(found.read.batches), found.next_offset) == ([], 4)


def test_an_answer_has_at_least_one_batch_and_no_more_than_was_asked_for() -> None:
    """What does not fit is looked at again by the next request."""
    it = Filtering()
    it.store(*[batch("a", size=1_000) for _ in range(5)])
    it.ask(0, "a", bytes_max=2_500)
    it.reader.run()
    found = it.answer()
    assert list(found.read.base_offsets) == [0, 1]
    assert found.next_offset == 2
    it.ask(2, "a", bytes_max=1)
    it.reader.run()
    assert it.answer().next_offset == 3


def test_a_batch_that_cannot_be_opened_is_an_error_after_what_came_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It names the offset; it is not passed over, whatever may be in it."""
    it = Filtering()
    packed = batch(*["b"] * 50, codec="zstd", size=99)
    it.store(batch("a"), packed, batch("a"))
    monkeypatch.setitem(codecs._MODULES, codecs.Codec.ZSTD, "no_such_package")
    codecs._package.cache_clear()
    it.ask(0, condition="n = 0")
    it.reader.run()
    found = it.answer()
    assert (list(found.read.base_offsets), found.next_offset) == ([0], 1)
    it.ask(1, condition="n = 0", wait_ns=SECOND)
    it.reader.run()
    refused = it.refusal()
    assert isinstance(refused, CodecUnavailable)
    assert "from offset 1 can't be filtered on this node" in str(refused)
    it.ask(0, "a")
    it.reader.run()
    assert it.answer().next_offset == 52, "tags need no codec"
    monkeypatch.undo()
    codecs._package.cache_clear()


def test_what_a_plain_read_is_refused_for_a_filtered_one_is_too() -> None:
    """The same errors, at the offset asked for."""
    it = Filtering()
    it.store(batch("b"))
    it.ask(7, "a")
    it.world.replica.confirm()
    assert isinstance(it.refusal(), OffsetOutOfRange)
    it.ask(0, "a", queue=99)
    it.world.replica.confirm()
    assert isinstance(it.refusal(), WrongQueue)
    (closed,) = it.world.create("closed", readable=False)
    it.ask(0, "a", queue=closed)
    assert isinstance(it.refusal(), NotPermitted)
    with pytest.raises(BadFilter):
        it.ask(0, condition="n !")


def test_a_read_that_nobody_wants_any_more_ends() -> None:
    """While it waits for records, and while its piece is looked at."""
    it = Filtering()
    it.store(batch("b"))
    reading = it.ask(0, "a")
    reading.cancel()
    it.reader.run()
    it.ask(1, "a", wait_ns=SECOND).cancel()
    it.store(batch("a"))
    it.reader.run()
    assert it.answers == []
    assert len(it.world.service.waiting) == 0
