"""Atomic transactions over the wire: what is refused before the log, and what comes back."""

from collections.abc import Sequence

import pytest
from google.protobuf.message import Message

from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    DiskFull,
    GroupNotFound,
    NotLeader,
    OutcomeUnknown,
    QuotaExceeded,
    RaftlogError,
    TransactionExpired,
    TransactionTooLarge,
    UnknownMember,
    WrongQueue,
)
from raftlog.base.ids import NodeId
from raftlog.base.space import DiskLevel
from raftlog.broker.codec import CommandValue, write_command
from raftlog.broker.quotas import SetQuota
from raftlog.broker.topics import CreateTopic, TopicChanges
from raftlog.gateway.grpc.calls import take_payload
from raftlog.wire.batch import ANONYMOUS, Producer, encode_columns
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups, leases, transactions
from tests.service.test_handlers import FakeRequest, served

BY = Producer(1 << 16, 0, 0)


def batch(*values: bytes, by: Producer = BY, id_: str | None = None) -> bytes:
    return encode_columns(values, timestamp_ms=5, producer=by, id_=id_)


class World:
    """A shard with two topics."""

    def __init__(self) -> None:
        self.shard, self.handlers, _ = served()
        self.replica = self.shard.replica
        self.first = self.shard.queue
        self.carry_out(CreateTopic("second", TopicChanges(queues=1)))
        (self.second,) = self.replica.machine.topics.find("second").queues

    def carry_out(self, value: CommandValue) -> None:
        command = write_command(value)
        self.replica.propose(command.type, command.parts, lambda *_: None)
        self.replica.commit()

    def ask(self, *parts: tuple[int, bytes], **more: object) -> Message | RaftlogError:
        """Ask; commit what is proposed."""
        message = transactions.CommitTransaction(
            parts=[
                transactions.TransactionPart(queue=queue, length=len(data))
                for queue, data in parts
            ],
            **more,  # type: ignore[arg-type]
        )
        request = FakeRequest(message, b"".join(data for _, data in parts))
        self.handlers.by_method[Method.TRANSACTION_COMMIT](request)
        if self.replica.proposed:
            self.replica.commit()
        (answer,) = request.answers
        return answer

    def stage(self, queue: int, data: bytes, client: str = "") -> Message | RaftlogError:
        """Ask to stage a batch; commit what is proposed."""
        request = FakeRequest(transactions.StageBatch(queue=queue, client=client), data)
        self.handlers.by_method[Method.TRANSACTION_STAGE](request)
        if self.replica.proposed:
            self.replica.commit()
        (answer,) = request.answers
        return answer

    def ends(self) -> Sequence[int]:
        queues = self.replica.machine.queues
        return [queues.find(number).end_offset for number in (self.first, self.second)]


@pytest.fixture
def world() -> World:
    return World()


def test_it_is_stored_and_told_where(world: World) -> None:
    """The same request again: the same answer, and nothing else."""
    before = world.ends()
    parts = ((world.first, batch(b"a", b"b")), (world.second, batch(b"c")))
    answer = world.ask(*parts)
    assert isinstance(answer, transactions.TransactionCommitted), answer
    assert [(part.queue, part.base_offset, part.count) for part in answer.parts] == [
        (world.first, before[0], 2),
        (world.second, before[1], 1),
    ]
    assert (answer.duplicate, answer.durability) == (False, "fsync")
    again = world.ask(*parts)
    assert isinstance(again, transactions.TransactionCommitted)
    assert (again.parts, again.index, again.duplicate) == (answer.parts, answer.index, True)
    assert world.ends() == [before[0] + 2, before[1] + 1]


def test_offsets_and_acks_are_read_from_the_request(world: World) -> None:
    """As they are in their own requests: nobody has claimed, nobody holds anything."""
    offsets = groups.CommitOffsets(
        group="g",
        member="m",
        generation=1,
        offsets=[groups.QueueOffset(queue=world.first, offset=0)],
    )
    part = (world.second, batch(b"c"))
    assert isinstance(world.ask(part, offsets=[offsets]), UnknownMember)
    row = leases.LeasedMessages(handle=7, queue=world.first, offsets=[0])
    ack = leases.AckMessages(group="w", messages=[row])
    assert isinstance(world.ask(part, acks=[ack]), GroupNotFound)
    assert isinstance(world.ask(part, acks=[ack, ack]), BadRequest)
    offsets.offsets[0].read_from = 0
    assert isinstance(world.ask(part, offsets=[offsets]), BadRequest), "nothing was read"
    nobody = groups.CommitOffsets(group="g", member="", offsets=offsets.offsets)
    assert isinstance(world.ask(part, offsets=[nobody]), RaftlogError)
    assert world.ends()[1] == 0


def test_what_no_queue_would_take_does_not_reach_the_log(world: World) -> None:
    """And what the lengths do not say is no batch."""
    entries = len(world.replica.entries)
    damaged = bytearray(batch(b"c"))
    damaged[-1] ^= 1
    for error, part in (
        (BadBatch, batch(b"c", by=ANONYMOUS)),
        (BadRequest, batch(b"c", id_="order-1")),
        (RaftlogError, bytes(damaged)),
        (RaftlogError, b"none"),
    ):
        assert isinstance(world.ask((world.first, batch(b"a")), (world.second, part)), error)
    large = [(queue, batch(bytes(600_000))) for queue in (world.first, world.second)]
    assert isinstance(world.ask(*large), TransactionTooLarge)
    many = [
        groups.CommitOffsets(
            group=f"g{number}",
            member="m",
            offsets=[
                groups.QueueOffset(queue=1 << 31 | at, offset=1 << 40) for at in range(5_000)
            ],
        )
        for number in range(30)
    ]
    assert isinstance(world.ask((world.first, batch(b"a")), offsets=many), TransactionTooLarge)
    assert isinstance(world.ask(), BadRequest)
    message = transactions.CommitTransaction(
        parts=[transactions.TransactionPart(queue=world.first, length=5)]
    )
    request = FakeRequest(message, b"four")
    world.handlers.by_method[Method.TRANSACTION_COMMIT](request)
    assert isinstance(request.answers[0], BadRequest)
    world.replica.disk_level = DiskLevel.FULL
    assert isinstance(world.ask((world.first, batch(b"a"))), DiskFull)
    assert len(world.replica.entries) == entries


def test_what_stores_nothing_is_taken_on_full_disks(world: World) -> None:
    """Offsets and acknowledgements let retention make room; by themselves they are taken, too."""
    world.replica.disk_level = DiskLevel.FULL
    offsets = groups.CommitOffsets(
        group="g", member="m", offsets=[groups.QueueOffset(queue=world.first, offset=0)]
    )
    assert isinstance(world.ask(offsets=[offsets]), UnknownMember), "as apply says"
    row = leases.LeasedMessages(handle=7, queue=world.first, offsets=[0])
    ack = leases.AckMessages(group="w", messages=[row])
    assert isinstance(world.ask(acks=[ack]), GroupNotFound)


def test_a_queue_that_is_not_there_refuses_all_of_it(world: World) -> None:
    """Which apply says: it alone knows a copy of one that was stored when there was one."""
    before = world.ends()
    assert isinstance(world.ask((world.first, batch(b"a")), (99, batch(b"b"))), WrongQueue)
    assert world.ends() == before


def test_quotas_measure_all_of_it_or_nothing(world: World) -> None:
    """One topic's bucket is empty: the other's is not touched."""
    world.carry_out(SetQuota("topic", "second", 0, 1))
    first, second = (world.first, batch(b"a")), (world.second, batch(b"b", b"c"))
    assert isinstance(world.ask(first, second), transactions.TransactionCommitted)
    later = Producer(BY.id, 0, 2)
    next_ = Producer(BY.id, 0, 1)
    more = ((world.first, batch(b"a", by=next_)), (world.second, batch(b"d", by=later)))
    assert isinstance(world.ask(*more), QuotaExceeded)
    world.shard.scheduler.advance(3_000_000_000)
    assert isinstance(world.ask(*more), transactions.TransactionCommitted)


def test_what_becomes_of_the_proposal_is_told(world: World) -> None:
    """Refused before the log, or not known (ruling 22)."""
    world.replica.refusal = NotLeader(NodeId("n2"))
    assert isinstance(world.ask((world.first, batch(b"a"))), NotLeader)
    world.replica.refusal = None
    message = transactions.CommitTransaction(
        parts=[transactions.TransactionPart(queue=world.first, length=len(batch(b"a")))]
    )
    request = FakeRequest(message, batch(b"a"))
    world.handlers.by_method[Method.TRANSACTION_COMMIT](request)
    world.replica.fail_proposals(OutcomeUnknown("stepped down"))
    assert isinstance(request.answers[0], OutcomeUnknown)


def test_over_grpc_the_batches_say_how_long_they_are() -> None:
    """They become the payload, as on framed TCP."""
    message = transactions.CommitTransaction(
        parts=[transactions.TransactionPart(queue=1), transactions.TransactionPart(queue=2)],
        batches=[b"one", b"three"],
    )
    assert take_payload(message) == b"onethree"
    assert [part.length for part in message.parts] == [3, 5]
    assert not message.batches


def sequenced(sequence: int, *values: bytes) -> bytes:
    return batch(*values, by=Producer(BY.id, 0, sequence))


def test_what_is_too_large_is_staged_before(world: World) -> None:
    """A copy of it has the same answer; the commit names it, and tells where its own batch is."""
    before = world.ends()
    first = world.stage(world.first, sequenced(0, b"a", b"b"))
    again = world.stage(world.first, sequenced(0, b"a", b"b"))
    assert isinstance(first, transactions.BatchStaged)
    assert isinstance(again, transactions.BatchStaged)
    assert (first.count, first.duplicate, first.durability) == (2, False, "fsync")
    assert (again.id, again.duplicate) == (first.id, True)
    assert world.ends() == before
    staged = [transactions.StagedBatch(queue=world.first, id=first.id)]
    answer = world.ask((world.first, sequenced(2, b"c")), staged=staged)
    assert isinstance(answer, transactions.TransactionCommitted), answer
    assert [(part.base_offset, part.count) for part in answer.parts] == [(before[0] + 2, 1)]
    assert world.ends() == [before[0] + 3, before[1]]
    named_again = world.ask((world.first, sequenced(3, b"d")), staged=staged)
    assert isinstance(named_again, TransactionExpired)
    elsewhere = [transactions.StagedBatch(queue=world.second, id=first.id)]
    assert isinstance(world.ask((world.first, sequenced(3, b"d")), staged=elsewhere), BadRequest)


def test_a_staged_batch_is_refused_as_a_send_is(world: World) -> None:
    """Before the log, but for what only apply knows."""
    entries = len(world.replica.entries)
    damaged = bytearray(batch(b"c"))
    damaged[-1] ^= 1
    for error, part in (
        (BadBatch, batch(b"c", by=ANONYMOUS)),
        (BadRequest, batch(b"c", id_="order-1")),
        (RaftlogError, bytes(damaged)),
        (RaftlogError, b""),
    ):
        assert isinstance(world.stage(world.first, part), error)
    world.replica.disk_level = DiskLevel.FULL
    assert isinstance(world.stage(world.first, batch(b"a")), DiskFull)
    world.replica.disk_level = DiskLevel.ROOM
    assert len(world.replica.entries) == entries
    assert isinstance(world.stage(99, batch(b"a")), WrongQueue)
    world.carry_out(SetQuota("client", "me", 0, 1))
    assert isinstance(world.stage(world.first, batch(b"a", b"b"), "me"), transactions.BatchStaged)
    assert isinstance(world.stage(world.first, sequenced(2, b"c"), "me"), QuotaExceeded)


def test_below_level_4_nothing_is_staged(world: World) -> None:
    """An older member would stop at it: it does not reach the log."""
    world.replica.machine.state.feature_level = 3
    entries = len(world.replica.entries)
    assert isinstance(world.stage(world.first, batch(b"a")), TransactionTooLarge)
    staged = [transactions.StagedBatch(queue=world.first, id=5)]
    assert isinstance(world.ask((world.first, batch(b"a")), staged=staged), TransactionTooLarge)
    assert len(world.replica.entries) == entries


def test_over_grpc_a_staged_batch_is_in_its_message() -> None:
    """It becomes the payload, as on framed TCP."""
    message = transactions.StageBatch(queue=1, batch=b"one")
    assert take_payload(message) == b"one"
    assert not message.batch
