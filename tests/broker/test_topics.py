"""Topics and queues: names for numbers that are never used twice."""

import pytest

from raftlog.base.errors import (
    BadName,
    BadRequest,
    LimitReached,
    RaftlogError,
    TopicExists,
    TopicNotFound,
    WrongQueue,
)
from raftlog.base.ids import Offset
from raftlog.broker import queues, topics
from raftlog.broker.codec import CommandValue
from raftlog.broker.queues import Queue
from raftlog.broker.topics import (
    AlterTopic,
    CreateTopic,
    DeleteTopic,
    MoveStart,
    StartMoved,
    Topic,
    TopicChanges,
    TopicSettings,
)
from tests.broker.logs import Shard, append, batch_of, stored_at


def test_a_topic_has_defaults_and_queues_with_numbers_of_their_own() -> None:
    """Users see places; commands and index use numbers."""
    shard = Shard()
    made = shard(CreateTopic("orders", TopicChanges()))
    assert made == Topic("orders", TopicSettings(), (1, 2, 3, 4))
    assert shard.machine.topics.get("orders") == made
    found = shard.machine.queues.get(3)
    assert found == Queue(3, "orders", 2)


def test_a_fresh_machine_has_no_topics_and_no_queues() -> None:
    """Nothing is there that nobody made, and no number means "the usual one"."""
    shard = Shard()
    assert list(shard.machine.topics) == []
    assert isinstance(shard(append(batch_of(b"a"), 0)), WrongQueue)
    shard.topic(queues=2)
    assert isinstance(shard(append(batch_of(b"a"), 0)), WrongQueue)
    assert sorted(shard.machine.queues.table.rows) == [1, 2]


def test_a_deleted_topic_s_queues_never_come_back() -> None:
    """Whoever still believes in the old ones must be refused, not read something else."""
    shard = Shard()
    before = shard.topic(queues=2)
    shard(append(batch_of(b"a"), before[0]))
    shard(DeleteTopic("orders"))
    after = shard.topic(queues=2)
    assert set(before).isdisjoint(after)
    assert isinstance(shard(append(batch_of(b"a"), before[0])), WrongQueue)
    assert shard(append(batch_of(b"a"), after[0])) == stored_at(0, 1, 6)


def test_altering_adds_queues_and_keeps_what_is_not_named() -> None:
    """Key hashes depend on the places: the old queues keep theirs."""
    shard = Shard()
    shard(CreateTopic("orders", TopicChanges(queues=1, retention_ms=5)))
    shard.topic("other")
    assert shard(AlterTopic("orders", TopicChanges(queues=2, readable=False))) == Topic(
        "orders", TopicSettings(2, 5, readable=False), (1, 3)
    )
    assert shard.machine.queues.get(1) == Queue(1, "orders", 0, readable=False)
    assert shard.machine.queues.get(3) == Queue(3, "orders", 1, readable=False)


ONE = TopicChanges(queues=1)
REFUSED: dict[str, tuple[CommandValue, type[RaftlogError]]] = {
    "a name twice": (CreateTopic("orders", ONE), TopicExists),
    "fewer queues": (AlterTopic("orders", ONE), BadRequest),
    "too many queues in a topic": (CreateTopic("t", TopicChanges(queues=1_001)), LimitReached),
    "too many more": (AlterTopic("orders", TopicChanges(queues=1_001)), LimitReached),
    "altering what is not there": (AlterTopic("order", ONE), TopicNotFound),
    "deleting what is not there": (DeleteTopic("order"), TopicNotFound),
    "altering a system's name": (AlterTopic("%log", ONE), TopicNotFound),
    "deleting a system's name": (DeleteTopic("%log"), TopicNotFound),
    "moving what is not there": (MoveStart(9, 1), WrongQueue),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_changes_nothing(case: str) -> None:
    """It is an outcome, the same everywhere."""
    shard = Shard()
    shard.topic(queues=2)
    command, expected = REFUSED[case]
    assert shard.refusal(command) is expected


def test_tables_of_topics_and_queues_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that is reached is a typed refusal."""
    monkeypatch.setattr(topics, "TOPICS_MAX", 2)
    monkeypatch.setattr(queues, "QUEUES_MAX", 4)
    shard = Shard()
    shard.topic("a", queues=2)
    assert shard.refusal(CreateTopic("b", TopicChanges(queues=3))) is LimitReached
    assert shard.refusal(AlterTopic("a", TopicChanges(queues=5))) is LimitReached
    shard.topic("b", queues=2)
    assert shard.refusal(CreateTopic("c", ONE)) is LimitReached


@pytest.mark.parametrize(
    ("asked", "near"),
    [("order", "orders"), ("oders", "orders"), ("Orders", "orders"), ("paymnts", "payments")],
)
def test_a_wrong_name_names_the_nearest(asked: str, near: str) -> None:
    """Auto-create is off: the first thing that goes wrong is a typing error."""
    shard = Shard()
    for name in ("orders", "payments", "shipments"):
        shard.topic(name)
    assert shard.machine.topics.nearest(asked) == near
    error = shard(DeleteTopic(asked))
    assert isinstance(error, TopicNotFound)
    assert error.nearest == near


def test_topics_are_listed_in_the_order_of_their_names() -> None:
    """A page goes on after the last name of the one before."""
    shard = Shard()
    for name in ("b", "a", "d", "c"):
        shard.topic(name)
    assert [topic.name for topic in shard.machine.topics.after("a", 2)] == ["b", "c"]
    assert [topic.name for topic in shard.machine.topics.after("", 9)] == [*"abcd"]


@pytest.mark.parametrize(("to", "start"), [(2, 2), (9, 3), (3, 3), (0, 1)])
def test_a_start_moves_up_only_and_never_beyond_the_end(to: int, start: int) -> None:
    """A proposal may be late; what was forgotten must not come back."""
    shard = Shard()
    (queue,) = shard.topic()
    shard(append(batch_of(b"a", b"b", b"c"), queue))
    assert shard(MoveStart(queue, 1)) == StartMoved(1)
    assert shard(MoveStart(queue, to)) == StartMoved(start)
    row = shard.machine.queues.find(queue)
    assert (row.start_offset, row.end_offset) == (start, 3)
    with pytest.raises(AssertionError):
        shard.machine.find(queue, Offset(start - 1))


def test_what_wakes_a_waiting_read_is_told_once() -> None:
    """Records, a moved start and a deleted topic all change what a read would answer."""
    shard = Shard()
    one, two, three = shard.topic(queues=3)
    shard.machine.take_touched()
    shard.all_of(append(batch_of(b"a"), one), append(batch_of(b"a"), 77))
    assert shard.machine.take_touched() == {one}
    shard(MoveStart(one, 1))
    assert shard.machine.take_touched() == {one}
    shard(DeleteTopic("orders"))
    assert shard.machine.take_touched() == {one, two, three}
    assert shard.machine.take_touched() == set()


@pytest.mark.parametrize("name", ["", "a b", "ü", "%log", "__x", "a" * 128, "a/b", "a\n"])
def test_a_name_that_no_topic_can_have_is_refused_where_it_is_made(name: str) -> None:
    """Client and broker ask the same function."""
    with pytest.raises(BadName):
        CreateTopic(name, ONE)
