"""Atomic transactions over the wire: what is bad in form is refused, and never in the log."""

import pytest

from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    DiskFull,
    RaftlogError,
    TransactionTooLarge,
    UnknownMember,
    WrongQueue,
)
from raftlog.base.space import DiskLevel
from raftlog.gateway.grpc.calls import take_payload
from raftlog.wire.batch import Producer, encode_columns
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups, leases, transactions
from tests.service.test_handlers import FakeRequest, served


class World:
    """A shard with one queue."""

    def __init__(self) -> None:
        self.shard, self.handlers, _ = served()
        self.replica = self.shard.replica

    def batch(self, value: bytes = b"v", sequence: int = 0, *, id_: str | None = None) -> bytes:
        by = Producer(7, 0, sequence, sequence)
        return encode_columns([value], timestamp_ms=5, producer=by, id_=id_)

    def commit(
        self,
        *batches: bytes,
        queue: int | None = None,
        lengths: list[int] | None = None,
        offsets: list[groups.CommitOffsets] | None = None,
        acks: list[leases.AckMessages] | None = None,
    ) -> object:
        at = self.shard.queue if queue is None else queue
        sizes = [len(batch) for batch in batches] if lengths is None else lengths
        message = transactions.CommitTransaction(
            parts=[transactions.TransactionPart(queue=at, length=size) for size in sizes],
            offsets=offsets,
            acks=acks,
        )
        request = FakeRequest(message, b"".join(batches))
        self.handlers.by_method[Method.COMMIT_TRANSACTION](request)
        self.replica.confirm()
        if self.replica.proposed:
            self.replica.commit()
        (answer,) = request.answers
        return answer

    def refusal(self, *batches: bytes, **more: object) -> type[object]:
        """Ask for something bad; see that nothing was proposed."""
        before = len(self.replica.entries)
        answer = self.commit(*batches, **more)  # type: ignore[arg-type]
        assert isinstance(answer, RaftlogError), answer
        assert len(self.replica.entries) == before
        return type(answer)


def test_a_transaction_is_answered_with_where_it_is() -> None:
    """And a copy of it likewise, which is said."""
    world = World()
    for duplicate in (False, True):
        answer = world.commit(world.batch())
        assert isinstance(answer, transactions.TransactionCommitted), answer
        (part,) = answer.parts
        assert (part.queue, part.base_offset, part.count) == (world.shard.queue, 0, 1)
        assert (answer.duplicate, answer.durability) == (duplicate, "fsync")
        assert answer.index


def test_bad_ones_are_refused_before_they_are_in_the_log() -> None:
    """In a word that says what to do."""
    world = World()
    good = world.batch()
    assert world.refusal() is BadRequest
    assert world.refusal(good, lengths=[len(good) - 1]) is BadRequest
    assert world.refusal(good, lengths=[len(good), 0]) is BadRequest
    assert world.refusal(good[:-1]) is BadBatch
    assert world.refusal(encode_columns([b"v"], timestamp_ms=5)) is BadBatch
    assert world.refusal(world.batch(id_="order-1")) is BadBatch
    assert world.refusal(good, queue=99) is WrongQueue
    assert world.refusal(good, good) is BadRequest
    assert world.refusal(world.batch(b"x" * (1 << 20))) is TransactionTooLarge
    nothing = groups.CommitOffsets(group="g", member="m", generation=1)
    bad = groups.CommitOffsets(
        group="g", member="m", offsets=[groups.QueueOffset(queue=1, offset=-1)]
    )
    for offsets in ([nothing, bad], [bad]):
        assert world.refusal(good, offsets=offsets) is BadRequest
    acks = [leases.AckMessages(group="", messages=[])]
    assert world.refusal(good, acks=acks) is BadRequest


def test_a_full_disk_takes_no_records_and_lets_consumers_go_on() -> None:
    """As everywhere."""
    world = World()
    world.replica.disk_level = DiskLevel.FULL
    assert world.refusal(world.batch()) is DiskFull
    row = groups.QueueOffset(queue=world.shard.queue, offset=0)
    offsets = [groups.CommitOffsets(group="g", member="m", generation=1, offsets=[row])]
    assert isinstance(world.commit(offsets=offsets), UnknownMember)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_over_grpc_the_batches_are_in_the_message(count: int) -> None:
    """Their lengths need not be said."""
    batches = [b"%d" % number * (number + 1) for number in range(count)]
    message = transactions.CommitTransaction(
        parts=[transactions.TransactionPart(queue=number) for number in range(count)],
        batches=batches,
    )
    assert take_payload(message) == b"".join(batches)
    assert [part.length for part in message.parts] == [len(batch) for batch in batches]
    assert not message.batches
