"""Searching a queue: a bounded piece at a time, to an end, and nothing passed over in silence."""

import pytest
from msgspec import structs

from raftlog.base.errors import (
    BadBatch,
    BadFilter,
    BadRequest,
    NotLeader,
    OffsetOutOfRange,
    WrongQueue,
)
from raftlog.broker.topics import MoveStart
from raftlog.service import filtering
from raftlog.service.filtering import FilterService
from raftlog.service.proposing import propose_unheard
from raftlog.service.record_handlers import search as handle_search
from raftlog.wire.batch import Record, encode_batch
from raftlog.wire.schema import client, search
from tests.service.fakes import FakeReader
from tests.service.test_handlers import FakeRequest
from tests.service.test_read import World


class Searching:
    """A shard whose reader thread works when it is told to."""

    def __init__(self) -> None:
        self.world = World()
        self.reader = FakeReader()
        self.service = FilterService(self.world.service, self.reader)

    def store(self, *keys: bytes) -> None:
        records = [Record(b"v", key) for key in keys]
        self.world.store(encode_batch(records, timestamp_ms=1))

    def ask(self, message: search.SearchQueue) -> FakeRequest:
        message.queue = message.queue or self.world.queue
        message.bytes_max = 1 << 20
        request = FakeRequest(message)
        handle_search(self.service, request)
        return request

    def found(self, message: search.SearchQueue) -> tuple[list[int], int]:
        request = self.ask(message)
        assert request.answers == [], "a search waits until it is linearizable"
        self.world.replica.confirm()
        self.reader.run()
        (answer,) = request.answers
        assert isinstance(answer, client.BatchesRead), answer
        offsets = [
            base + number
            for base, matching in zip(answer.base_offsets, answer.matching, strict=True)
            for number in matching.numbers
        ]
        return offsets, answer.next_offset


def test_a_stretch_is_looked_through_and_what_is_beside_it_is_not_found() -> None:
    """Its ends may lie in the middle of batches."""
    it = Searching()
    for _ in range(4):
        it.store(b"a", b"b", b"a")
    assert it.found(search.SearchQueue(key=b"a")) == ([0, 2, 3, 5, 6, 8, 9, 11], 12)
    assert it.found(search.SearchQueue(key=b"a", offset=2, end_offset=9)) == ([2, 3, 5, 6, 8], 9)
    assert it.found(search.SearchQueue(key=b"a", offset=4, end_offset=5)) == ([], 5)
    assert it.found(search.SearchQueue(key=b"c", offset=11)) == ([], 12)
    assert it.found(search.SearchQueue(key=b"a", offset=12)) == ([], 12)


def test_a_request_looks_at_so_much_and_says_where_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What one asks for bounds it, and what a node does at once; together they look at all."""
    monkeypatch.setattr(filtering, "PIECE_BYTES", 1)
    it = Searching()
    for number in range(30):
        it.store(b"%d" % number)
    offset, found, asked = 0, [], 0
    while offset < 30:
        more, offset = it.found(
            search.SearchQueue(key=b"17", offset=offset, look_bytes_max=3 * 100)
        )
        found += more
        asked += 1
    assert found == [17]
    assert asked > 5
    monkeypatch.setattr(filtering, "LOOKED_BYTES_MAX", 1)
    assert it.found(search.SearchQueue(key=b"17", look_bytes_max=1 << 30)) == ([], 1)


def test_what_can_t_be_looked_for_is_refused() -> None:
    """By name, and by what can be done about it."""
    it = Searching()
    it.store(b"a", b"b", b"a")
    propose_unheard(it.world.replica, MoveStart(it.world.queue, 2))
    it.world.replica.commit()

    def refusal(message: search.SearchQueue) -> object:
        request = it.ask(message)
        it.world.replica.confirm()
        it.world.replica.confirm()
        (error,) = request.answers
        return type(error)

    assert refusal(search.SearchQueue(offset=0)) is OffsetOutOfRange
    assert refusal(search.SearchQueue(offset=4)) is OffsetOutOfRange
    assert refusal(search.SearchQueue(offset=2, end_offset=2)) is BadRequest
    assert refusal(search.SearchQueue(filter=client.RecordFilter(condition="a !"))) is BadFilter
    assert refusal(search.SearchQueue(queue=99)) is WrongQueue
    request = it.ask(search.SearchQueue(offset=2))
    it.world.replica.confirm(NotLeader(None))
    assert isinstance(request.answers[0], NotLeader), "nobody confirmed that this is the newest"


def test_a_batch_that_can_t_be_looked_into_is_named_after_what_came_before_it() -> None:
    """It is never taken for one that does not match; and a search that is left ends."""
    it = Searching()
    it.store(b"a")
    bad = bytearray(encode_batch([Record(b"v", b"a")], timestamp_ms=1))
    it.store(b"a")
    entry = it.world.replica.entries[-1]
    position = bytes(entry.frame).index(bytes(bad[-2:]))  # of its value and key
    frame = bytearray(entry.frame)
    frame[position] ^= 1
    it.world.replica.entries[-1] = structs.replace(entry, frame=bytes(frame))
    assert it.found(search.SearchQueue(key=b"a")) == ([0], 1)
    request = it.ask(search.SearchQueue(key=b"a", offset=1))
    it.world.replica.confirm()
    it.reader.run()
    (error,) = request.answers
    assert isinstance(error, BadBatch)
    assert "offset 1 " in str(error)
    request = it.ask(search.SearchQueue(key=b"a"))
    assert request.on_cancelled is not None
    request.on_cancelled()
    it.world.replica.confirm()
    assert it.reader.run() == 0
    assert request.answers == []
