"""Topics that take messages of some types only: what came is told in apply (decision 27)."""

from collections.abc import Callable

import msgspec
import pytest

from raftlog.base.errors import BadBatch, BadName, BadRequest, WrongMessageType
from raftlog.base.message_types import EVERY_BIT, MessageType, bits_of
from raftlog.broker import index
from raftlog.broker.appends import Appended, append_parts
from raftlog.broker.atomic_commands import TransactionCommitted
from raftlog.broker.codec import CommandValue, write_command
from raftlog.broker.commands import Command, CommandType
from raftlog.broker.delays import Delay, Delayed
from raftlog.broker.invariants import check
from raftlog.broker.message_types import AlterTypedTopic, CreateTypedTopic
from raftlog.broker.staging import BatchStaged
from raftlog.broker.topics import AlterTopic, CreateTopic, DeleteTopic, Topic, TopicChanges
from raftlog.broker.transactions import Decide, DecisionsMade, HalfStaged
from raftlog.broker.transactors import InitTransactor, TransactorBegun
from raftlog.wire.batch import ANONYMOUS, Producer, encode_columns
from raftlog.wire.batch_header import BATCH_HEADER_BYTES
from tests.broker.logs import Shard, append, atomic, delayed, half, once, staged, tables_of
from tests.broker.test_due import restored

ONE = TopicChanges(queues=1)
P = 1 << 16
ALL = tuple(MessageType)


def typed(shard: Shard, *types: MessageType, name: str = "orders") -> int:
    """Make a topic of one queue that takes these; return its queue."""
    made = shard(CreateTypedTopic(name, ONE, bits_of(types)))
    assert isinstance(made, Topic), made
    return made.queues[0]


def alter(*types: MessageType, name: str = "orders", queues: int | None = None) -> CommandValue:
    return AlterTypedTopic(name, TopicChanges(queues=queues), bits_of(types))


def keyed(
    queue: int, *keys: bytes | None, by: Producer = ANONYMOUS, id_: str | None = None
) -> Command:
    """A plain send of records with these keys, whose hashes are in the record table."""
    batch = encode_columns(
        [b"v"] * len(keys), keys, timestamp_ms=5, producer=by, fifo=True, id_=id_
    )
    kind = CommandType.APPEND_BATCH if id_ is None else CommandType.APPEND_ONCE
    return Command(kind, append_parts(queue, batch))


def transactor(shard: Shard) -> int:
    begun = shard(InitTransactor("billing", "payments"))
    assert isinstance(begun, TransactorBegun)
    return begun.id


Send = Callable[[Shard, int], Command]
SENDS: dict[str, tuple[Send, MessageType, type]] = {
    "plain": (lambda _, queue: keyed(queue, None), MessageType.NORMAL, Appended),
    "keyed": (lambda _, queue: keyed(queue, b"a", b"b"), MessageType.FIFO, Appended),
    "half keyed": (lambda _, queue: keyed(queue, b"a", None), MessageType.NORMAL, Appended),
    "by a producer": (
        lambda _, queue: keyed(queue, b"a", by=Producer(P, 1, 0)),
        MessageType.FIFO,
        Appended,
    ),
    "with an id": (lambda _, queue: once(queue, "id"), MessageType.NORMAL, Appended),
    "with id and key": (
        lambda _, queue: keyed(queue, b"a", id_="id"),
        MessageType.FIFO,
        Appended,
    ),
    "delayed": (
        lambda _, queue: delayed(Delay(5, relative=True), queue),
        MessageType.DELAYED,
        Delayed,
    ),
    "half": (
        lambda shard, queue: half(transactor(shard), 1, queue=queue),
        MessageType.TRANSACTIONAL,
        HalfStaged,
    ),
    "atomic": (
        lambda _, queue: atomic((queue, Producer(P, 1, 0), 2)),
        MessageType.TRANSACTIONAL,
        TransactionCommitted,
    ),
    "staged": (
        lambda _, queue: staged(queue, Producer(P, 1, 0)),
        MessageType.TRANSACTIONAL,
        BatchStaged,
    ),
}


@pytest.mark.parametrize("takes", ALL)
@pytest.mark.parametrize("what", SENDS)
def test_a_topic_takes_its_types_and_nothing_else(what: str, takes: MessageType) -> None:
    """Each way in, against each type. Who takes normal messages takes FIFO ones, too."""
    make, came, outcome = SENDS[what]
    shard = Shard()
    queue = typed(shard, takes)
    command = make(shard, queue)
    is_taken = takes is came or (takes, came) == (MessageType.NORMAL, MessageType.FIFO)
    if is_taken:
        assert type(shard(command)) is outcome
    else:
        assert shard.refusal(command) is WrongMessageType
        error = shard(command)
        assert isinstance(error, WrongMessageType)
        told = MessageType.NORMAL if came is MessageType.FIFO else came
        assert (error.topic, error.takes, error.came) == ("orders", (takes,), told)
    check(shard.machine)


@pytest.mark.parametrize("what", SENDS)
def test_a_topic_that_says_nothing_takes_everything(what: str) -> None:
    """As before there were types, in a shard that has a topic with some."""
    shard = Shard()
    typed(shard, MessageType.DELAYED, name="others")
    (queue,) = shard.topic("orders")
    make, _, outcome = SENDS[what]
    assert type(shard(make(shard, queue))) is outcome


def test_what_was_stored_is_answered_like_the_first_time() -> None:
    """The answer was lost, the topic altered, and the copy must not hear that it was refused."""
    shard = Shard()
    queue = typed(shard, *ALL)
    owner = transactor(shard)
    commands = [
        keyed(queue, None, by=Producer(P, 1, 0)),
        once(queue, "id", 2 * P, epoch=1),
        delayed(Delay(5, relative=True), queue, by=Producer(3 * P, 1, 0)),
        atomic((queue, Producer(4 * P, 1, 0), 1)),
        staged(queue, Producer(5 * P, 1, 0)),
        half(owner, 1, queue=queue),
    ]
    for command in commands:
        shard(command)
    shard(alter(MessageType.FIFO))
    for command in commands:
        assert getattr(shard(command), "duplicate", False), command
    assert isinstance(shard(once(queue, "id")), Appended), "its id is known"


def test_what_was_taken_stays_taken() -> None:
    """A delayed message is delivered, a half message decided, though no more of them are taken."""
    shard = Shard()
    queue = typed(shard, *ALL)
    owner = transactor(shard)
    shard(delayed(Delay(5, relative=True), queue))
    shard(half(owner, 1, queue=queue))
    shard(alter(MessageType.FIFO))
    shard.log_time_ms += 10
    made = shard(Decide(owner, 1, ((1, 1),)))
    assert isinstance(made, DecisionsMade)
    row = shard.machine.queues.get(queue)
    assert row is not None
    assert row.end_offset == 2


def test_a_staged_part_is_of_no_use_to_a_topic_that_takes_no_transactions_any_more() -> None:
    """As a whole or not at all: the commit is refused, and what was staged goes by time."""
    shard = Shard()
    queue = typed(shard, *ALL)
    part = shard(staged(queue, Producer(P, 1, 0)))
    assert isinstance(part, BatchStaged)
    shard(alter(MessageType.NORMAL))
    commit = atomic((queue, Producer(P, 1, 1), 1), staged=[(queue, part.id)])
    assert shard.refusal(commit) is WrongMessageType


def test_a_transaction_is_refused_as_a_whole() -> None:
    """One of its two topics takes it."""
    shard = Shard()
    queue = typed(shard, MessageType.NORMAL)
    (other,) = shard.topic("others")
    by = Producer(P, 1, 0)
    assert shard.refusal(atomic((other, by, 1), (queue, by, 1))) is WrongMessageType


def test_altered_queues_take_what_the_topic_does() -> None:
    """Those that are added later, too; and a topic that takes everything again has no row."""
    shard = Shard()
    typed(shard, MessageType.FIFO)
    topic = shard(AlterTopic("orders", TopicChanges(queues=3)))
    assert isinstance(topic, Topic)
    for queue in topic.queues:
        assert shard.refusal(append(encode_columns([b"v"], timestamp_ms=5), queue)) is (
            WrongMessageType
        )
    topic = shard(alter(MessageType.DELAYED, MessageType.FIFO, queues=4))
    assert isinstance(topic, Topic)
    assert isinstance(shard(delayed(Delay(5, relative=True), topic.queues[-1])), Delayed)
    check(shard.machine)
    shard(alter(*ALL))
    assert shard.machine.types.of("orders") == EVERY_BIT
    assert not len(shard.machine.types.table)
    assert not shard.machine.types.masks
    check(shard.machine)


def test_a_topic_that_is_made_again_is_another_one() -> None:
    """Its types go with it; and one that can't be made leaves none behind."""
    shard = Shard()
    typed(shard, MessageType.FIFO)
    assert shard.refusal(CreateTypedTopic("orders", ONE, 1)).code == "topic_exists"
    assert shard.refusal(alter(MessageType.FIFO, name="none")).code == "topic_not_found"
    assert shard.refusal(AlterTypedTopic("orders", TopicChanges(queues=10**6), 1)).code == (
        "limit_reached"
    )
    assert shard.machine.types.of("orders") == MessageType.FIFO.bit
    shard(DeleteTopic("orders"))
    assert not shard.machine.types.masks
    (queue,) = shard.topic("orders")
    assert isinstance(shard(keyed(queue, None)), Appended)


def test_what_can_not_be_said_never_reaches_the_log() -> None:
    """No type at all, one that nobody knows, a topic of the system."""
    for types in (0, EVERY_BIT + 1):
        with pytest.raises(BadRequest):
            write_command(CreateTypedTopic("orders", ONE, types))
    with pytest.raises(BadName):
        write_command(CreateTypedTopic("%DLQ%work", ONE, 1))
    with pytest.raises(BadRequest, match="every type"):
        write_command(AlterTypedTopic("%DLQ%work", ONE, 1))


def test_types_need_their_feature_level() -> None:
    """A member of level 4 does not know the commands: it would have another topic."""
    shard = Shard(4)
    shard.topic("orders")
    for command in (CreateTypedTopic("typed", ONE, 1), alter(MessageType.FIFO)):
        assert shard.refusal(command) is BadRequest
        assert "feature level 5" in str(shard(command))
    shard.level = 5
    assert isinstance(shard(alter(MessageType.FIFO)), Topic)


def test_a_topic_without_types_is_stored_as_it_was() -> None:
    """A binary of level 4 reads its commands and its row, and no other table has any."""
    assert len(msgspec.msgpack.decode(msgspec.msgpack.encode(TopicChanges()))) == 7
    shard = Shard(4)
    shard.topic("orders")
    (chunk,) = shard.machine.topics.table.freeze().chunks()
    ((_, settings, _),) = msgspec.msgpack.decode(chunk.data)
    assert len(settings) == 7
    assert not list(shard.machine.types.table.freeze().chunks())
    assert write_command(CreateTopic("t", ONE)).type == CommandType.CREATE_TOPIC


def test_a_snapshot_has_what_topics_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was restored refuses what the others do."""
    monkeypatch.setattr(index, "RANGE_POSTINGS", 1)
    shard = Shard()
    queue = typed(shard, MessageType.FIFO)
    typed(shard, MessageType.DELAYED, MessageType.NORMAL, name="others")
    shard(keyed(queue, b"k"))
    other = restored(shard.machine)
    assert other is not None
    assert tables_of(other) == tables_of(shard.machine)
    assert other.types.masks == shard.machine.types.masks
    check(other)


def test_a_batch_whose_table_is_none_is_refused() -> None:
    """Nobody who checks before proposing lets it pass; apply is total all the same."""
    shard = Shard()
    queue = typed(shard, MessageType.FIFO)
    good = encode_columns([b"v"], [b"k"], timestamp_ms=5, fifo=True)
    for at, value in ((32, 1 << 20), (32, 3), (BATCH_HEADER_BYTES, 1 << 15)):
        bad = bytearray(good)
        bad[at : at + 2] = (value & 0xFFFF).to_bytes(2, "little")
        bad[at + 2 : at + 4] = (value >> 16).to_bytes(2, "little")
        assert shard.refusal(append(bytes(bad), queue)) is BadBatch
