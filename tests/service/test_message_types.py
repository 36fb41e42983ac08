"""Types of messages over the wire: said and told, refused early where that is certain."""

import pytest
from google.protobuf.message import Message

from raftlog.base.errors import BadRequest, RaftlogError, Unavailable, WrongMessageType
from raftlog.broker.commands import FEATURE_LEVEL
from raftlog.wire.batch import ANONYMOUS, Producer, encode_columns
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, delays, topics
from tests.service.test_feature_handlers import World
from tests.service.test_handlers import FakeRequest

FIFO = topics.MESSAGE_TYPE_FIFO
DELAYED = topics.MESSAGE_TYPE_DELAYED
OLD = FEATURE_LEVEL - 1


def created(world: World, *types: int, name: str = "typed") -> Message | RaftlogError:
    """Ask for a topic of one queue that takes these."""
    settings = topics.TopicSettings(queues=1, types=types)  # type: ignore[arg-type]
    return world.ask(Method.TOPIC_CREATE, topics.CreateTopic(name=name, settings=settings))


def altered(world: World, *types: int, name: str = "typed") -> Message | RaftlogError:
    settings = topics.TopicSettings(types=types)  # type: ignore[arg-type]
    return world.ask(Method.TOPIC_ALTER, topics.AlterTopic(name=name, settings=settings))


def types_of(answer: Message | RaftlogError) -> list[int]:
    assert isinstance(answer, topics.TopicDescription), answer
    return list(answer.settings.types)


def append(queue: int, *, key: bytes | None, by: Producer = ANONYMOUS) -> FakeRequest:
    """A request to append one record."""
    batch = encode_columns([b"v"], [key], timestamp_ms=5, producer=by, fifo=True)
    return FakeRequest(client.AppendBatch(queue=queue), batch)


def test_what_a_topic_takes_is_said_and_told() -> None:
    """Nothing said: everything, and unchanged."""
    world = World()
    assert types_of(created(world, name="plain")) == [1, 2, 3, 4]
    assert types_of(created(world, DELAYED, FIFO)) == [FIFO, DELAYED]
    assert types_of(altered(world)) == [FIFO, DELAYED]
    assert types_of(altered(world, FIFO)) == [FIFO]
    asked = topics.DescribeTopic(name="typed")
    assert types_of(world.ask(Method.TOPIC_DESCRIBE, asked)) == [FIFO]
    assert types_of(altered(world, 1, 2, 3, 4)) == [1, 2, 3, 4]


@pytest.mark.parametrize("number", [0, 5])
def test_a_type_that_nobody_knows_is_refused(number: int) -> None:
    """From a newer client; to leave it out would make another topic than was asked for."""
    world = World()
    for ask in (created, altered):
        answer = ask(world, FIFO, number)
        assert isinstance(answer, BadRequest)
        assert "no type of messages" in str(answer)
    assert world.shard.replica.machine.topics.get("typed") is None


def test_a_type_is_refused_before_the_log_where_nobody_can_have_stored_the_batch() -> None:
    """One of a producer may be a copy: apply alone knows, and it travels there."""
    world = World()
    answer = created(world, FIFO)
    assert isinstance(answer, topics.TopicDescription)
    queue, replica = answer.queues[0].queue, world.shard.replica
    later = encode_columns([b"v"], timestamp_ms=5)
    refused: list[tuple[Method, FakeRequest]] = [
        (Method.APPEND, append(queue, key=None)),
        (
            Method.DELAYED_APPEND,
            FakeRequest(delays.AppendDelayed(queue=queue, delay_ms=5), later),
        ),
    ]
    for method, request in refused:
        world.handlers.by_method[method](request)
        assert [type(each) for each in request.answers] == [WrongMessageType]
        assert not replica.proposed
    by = Producer(1 << 16, 0, 0)
    for request, kind in (
        (append(queue, key=None, by=by), WrongMessageType),
        (append(queue, key=b"k", by=by), client.BatchAppended),
        (append(queue, key=b"k"), client.BatchAppended),
    ):
        world.handlers.by_method[Method.APPEND](request)
        assert replica.proposed
        replica.commit()
        assert [type(each) for each in request.answers] == [kind]


def test_types_are_refused_while_a_member_has_an_older_version() -> None:
    """It would not read the command: nothing is proposed, and the text says why."""
    world = World()
    replica = world.shard.replica
    replica.machine.state.feature_level = replica.level_min = OLD
    created(world, name="plain")
    for ask, name in ((created, "typed"), (altered, "plain")):
        request = ask(world, FIFO, name=name)
        assert isinstance(request, BadRequest)
        assert "a member has an older version" in str(request)
    assert types_of(altered(world, 1, 2, 3, 4, name="plain")) == [1, 2, 3, 4]
    replica.level_min = FEATURE_LEVEL
    created(world, name="another")
    assert types_of(altered(world, FIFO, name="plain")) == [FIFO]


def test_a_leader_that_replays_waits_until_it_knows_its_level() -> None:
    """n2 leads since a moment ago: by what it has applied the level is that of before."""
    world = World()
    replica, service = world.shard.replica, world.handlers
    replica.machine.state.feature_level, replica.is_settled = OLD, False
    request = FakeRequest(
        topics.CreateTopic(name="typed", settings=topics.TopicSettings(types=[FIFO]))
    )
    service.by_method[Method.TOPIC_CREATE](request)
    assert (request.answers, replica.proposed) == ([], 0)
    replica.machine.state.feature_level = FEATURE_LEVEL
    replica.confirm()
    replica.commit()
    (answer,) = request.answers
    assert types_of(answer) == [FIFO]
    another = FakeRequest(request.message)
    service.by_method[Method.TOPIC_CREATE](another)
    replica.confirm(Unavailable("another one leads"))
    assert [type(each) for each in another.answers] == [Unavailable]
