"""Producing: checked once before it is proposed, answered exactly once."""

import pytest

from raftlog.base.errors import (
    BadBatch,
    DiskFull,
    DuplicateForgotten,
    Fenced,
    NotCommitted,
    NotLeader,
    NotPermitted,
    OutcomeUnknown,
    OutOfOrder,
    RaftlogError,
    RecordTooLarge,
    Throttled,
    UnknownProducer,
    WrongQueue,
)
from raftlog.base.ids import Index, NodeId, Offset
from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.base.space import DiskLevel
from raftlog.broker.appends import Appended
from raftlog.broker.topics import TopicChanges
from raftlog.service.produce import ProduceService
from raftlog.service.producers import ProducerService
from raftlog.wire.batch import Producer, encode_columns
from tests.service.fakes import TERM, FakeReplica, topic_service

BATCH = encode_columns([b"a", b"b"], timestamp_ms=5)
MANY = 64


class World:
    """A shard with a topic ``orders`` of one queue, and what appends to it were told."""

    def __init__(self) -> None:
        self.replica = FakeReplica()
        self.machine = self.replica.machine
        self.service = ProduceService(self.replica, self.machine)
        self.topics = topic_service(self.replica, self.machine)
        self.producers = ProducerService(self.replica)
        self.answers: list[Appended | RaftlogError] = []
        self.topics.create("orders", TopicChanges(queues=1), lambda _: None)
        self.replica.commit()
        topic = self.machine.topics.get("orders")
        assert topic is not None
        (self.queue,) = topic.queues

    def append(self, batch: bytes = BATCH, queue: int | None = None) -> None:
        """Append to the topic's queue, or another one."""
        self.service.append(self.queue if queue is None else queue, batch, self.answers.append)

    def send(
        self, producer: int, sequence: int, *, epoch: int = 0, known: int = 0, count: int = 1
    ) -> Appended | RaftlogError:
        """Append a batch of a producer, commit it, and return what it was told."""
        who = Producer(producer, epoch, sequence, known)
        self.append(encode_columns([b"v"] * count, timestamp_ms=5, producer=who))
        self.replica.commit()
        return self.answers.pop()

    def alter(self, changes: TopicChanges) -> None:
        """Change the topic's settings."""
        self.topics.alter("orders", changes, lambda _: None)
        self.replica.commit()

    def begin(self) -> int:
        """Return a new producer's id."""
        ids: list[int] = []
        self.producers.init(lambda begun: ids.append(getattr(begun, "producer", 0)))
        self.replica.commit()
        return ids[0]


@pytest.fixture
def world() -> World:
    return World()


def test_a_receipt_says_where_the_batch_is(world: World) -> None:
    """Term and index name it for ever; the offset is where to read it."""
    world.append()
    world.append()
    assert world.answers == []
    world.replica.commit()
    assert world.answers == [
        Appended(Offset(0), 2, TERM, Index(2)),
        Appended(Offset(2), 2, TERM, Index(2)),
    ]


BAD: dict[str, tuple[bytes, type[RaftlogError]]] = {
    "no batch": (b"", BadBatch),
    "a flipped bit": (BATCH[:-1] + bytes([BATCH[-1] ^ 1]), BadBatch),
    "cut short": (BATCH[:-1], BadBatch),
    "too large": (bytes(BATCH_BYTES_MAX + 1), RecordTooLarge),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_batch_is_refused_before_anything_is_appended(world: World, case: str) -> None:
    """Refused means that it never happened; nobody repairs a bad batch in the log."""
    batch, expected = BAD[case]
    world.append(batch)
    assert [type(answer) for answer in world.answers] == [expected]
    assert (world.replica.proposed, world.service.refused, world.service.batches) == (0, 1, 0)


def test_a_queue_that_does_not_exist_is_refused_when_that_is_certain(world: World) -> None:
    """A leader of a moment ago may not have applied the topic's creation yet."""
    world.append(queue=77)
    assert world.answers == []
    world.replica.confirm()
    assert [type(answer) for answer in world.answers] == [WrongQueue]


def test_a_queue_that_becomes_known_meanwhile_is_appended_to(world: World) -> None:
    """n1 makes a topic and dies; the first batch comes to n2 before n2 has applied that."""
    world.append(queue=world.queue + 1)
    world.topics.create("more", TopicChanges(queues=1), lambda _: None)
    world.replica.commit()
    world.replica.confirm()
    world.replica.commit()
    assert [type(answer) for answer in world.answers] == [Appended]


def test_a_queue_that_cannot_be_confirmed_is_no_wrong_queue(world: World) -> None:
    """Nothing is known about it: the leader is asked again."""
    world.append(queue=77)
    error = NotLeader(NodeId("n2"))
    world.replica.confirm(error)
    assert world.answers == [error]


def test_a_topic_that_is_not_writable_takes_nothing_new(world: World) -> None:
    """And says so before the batch travels."""
    world.alter(TopicChanges(writable=False))
    world.append()
    assert [type(answer) for answer in world.answers] == [NotPermitted]
    assert world.replica.proposed == 0


def test_a_stored_batch_is_told_so_even_if_its_topic_was_closed_since(world: World) -> None:
    """``NotPermitted`` would say that it never happened, and it did."""
    producer = world.begin()
    first = world.send(producer, 0)
    world.alter(TopicChanges(writable=False))
    again = world.send(producer, 0)
    assert isinstance(first, Appended)
    assert isinstance(again, Appended)
    assert (again.base_offset, again.duplicate) == (first.base_offset, True)
    assert isinstance(world.send(producer, 1), NotPermitted)


def test_a_batch_that_is_sent_again_gets_the_first_receipt(world: World) -> None:
    """Offset, term and index: nothing tells the second answer from the first but the flag."""
    producer = world.begin()
    first = world.send(producer, 0, count=3)
    world.send(producer, 3)
    again = world.send(producer, 0, count=3)
    assert isinstance(first, Appended)
    assert isinstance(again, Appended)
    assert not first.duplicate
    assert again == Appended(
        first.base_offset, first.count, first.term, first.index, duplicate=True
    )
    assert world.service.duplicates == 1


def test_a_gap_in_the_sequence_names_what_is_missing(world: World) -> None:
    """So the client can heal it by itself."""
    producer = world.begin()
    world.send(producer, 0, count=2)
    error = world.send(producer, 5)
    assert isinstance(error, OutOfOrder)
    assert error.expected == 2


def test_an_old_epoch_is_fenced(world: World) -> None:
    """A late copy must not enter after its producer was told that it did not (ruling 10)."""
    producer = world.begin()
    world.send(producer, 0)
    world.producers.fence(world.queue, producer, 1, lambda _: None)
    assert isinstance(world.send(producer, 1), Fenced)
    assert isinstance(world.send(producer, 0, epoch=1), Appended)


def test_an_unknown_producer_cannot_begin_in_the_middle(world: World) -> None:
    """What came before it would be lost in silence."""
    assert isinstance(world.send(world.begin(), 4), UnknownProducer)


def test_what_its_producer_knows_is_a_duplicate_without_an_offset(world: World) -> None:
    """An offset of 0 would be a lie (ruling 9)."""
    producer = world.begin()
    world.send(producer, 0)
    world.send(producer, 1, known=1)
    assert isinstance(world.send(producer, 0, known=1), DuplicateForgotten)


def test_more_unconfirmed_batches_than_are_remembered_are_throttled(world: World) -> None:
    """A 65th could not be told its offset if it were sent again."""
    producer = world.begin()
    for sequence in range(MANY):
        assert isinstance(world.send(producer, sequence), Appended)
    assert isinstance(world.send(producer, MANY), Throttled)
    assert isinstance(world.send(producer, MANY, known=1), Appended)


@pytest.mark.parametrize(
    "error", [NotLeader(NodeId("n2")), Throttled("much waits")], ids=lambda error: error.code
)
def test_a_refusal_of_the_replica_is_passed_on(world: World, error: RaftlogError) -> None:
    """The client needs the hint in it."""
    world.replica.refusal = error
    world.append()
    assert world.answers == [error]


@pytest.mark.parametrize("error", [NotCommitted("replaced"), OutcomeUnknown("stepped down")])
def test_the_fate_of_a_proposal_is_passed_on_as_it_is(world: World, error: RaftlogError) -> None:
    """Never happened and nobody knows must not be mixed up on the way (ruling 22)."""
    world.append()
    world.replica.fail_proposals(error)
    assert world.answers == [error]


def test_a_full_disk_refuses_records_and_nothing_else() -> None:
    """Ruling 25: at 90 % only admission refuses, and says when to ask again."""
    world = World()
    world.replica.disk_level = DiskLevel.FULL
    world.append()

    (error,) = world.answers
    assert isinstance(error, DiskFull)
    assert error.retry_after >= 1
    assert not world.replica.proposed
    world.replica.disk_level = DiskLevel.SCARCE
    world.append()
    world.replica.commit()
    assert isinstance(world.answers[-1], Appended)
