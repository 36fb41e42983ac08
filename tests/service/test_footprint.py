"""What takes space: bytes of each topic, and which rule keeps the log from being trimmed."""

import pytest

from raftlog.broker import index
from raftlog.broker.topics import TopicChanges
from raftlog.service.footprint import LARGEST, LOOK_NS, Footprint
from raftlog.service.topics import TopicState
from raftlog.wire.batch import encode_columns
from tests.service.test_read import World as Shard

BATCH = encode_columns([b"a", b"b"], timestamp_ms=5)


class World:
    """A shard whose ranges are full after four batches."""

    def __init__(self) -> None:
        self.shard = Shard()
        self.machine = self.shard.replica.machine
        self.footprint = Footprint(self.machine, self.shard.scheduler)

    def topic(self, name: str, **changes: int) -> TopicState:
        """Make a topic of one queue, or more."""
        answers: list[object] = []
        settings = TopicChanges(**{"queues": 1, **changes})
        self.shard.topics.create(name, settings, answers.append)
        self.shard.replica.commit()
        (made,) = answers
        assert isinstance(made, TopicState)
        return made

    def store(self, *topics: TopicState) -> None:
        """Store a batch in the first queue of each."""
        for topic in topics:
            self.shard.store(BATCH, queue=topic.queues[0].queue)

    def describe(self, name: str) -> TopicState:
        """Return what is told of a topic."""
        answers: list[object] = []
        self.shard.topics.describe(name, answers.append)
        self.shard.replica.confirm()
        (told,) = answers
        assert isinstance(told, TopicState)
        return told


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(index, "RANGE_POSTINGS", 4)
    return World()


def test_bytes_are_those_of_stored_batches(world: World) -> None:
    """Of each queue, of the topic, of all topics together."""
    orders, audit = world.topic("orders"), world.topic("audit")
    world.store(orders, audit, orders)
    assert world.describe("orders").bytes == 2 * len(BATCH)
    space = world.footprint.space()
    assert space.largest[:2] == (("orders", 2 * len(BATCH)), ("audit", len(BATCH)))
    assert space.bytes == 3 * len(BATCH)


def test_nothing_keeps_a_log_whose_first_range_is_not_full(world: World) -> None:
    """There is nothing that could be trimmed."""
    world.store(world.topic("orders"))
    assert world.footprint.hold() is None
    assert world.describe("orders").hold is None


def test_the_rule_that_keeps_longest_is_named(world: World) -> None:
    """For ever before 72 hours, those before 5 seconds; all who need it are counted."""
    brief = world.topic("brief", retention_ms=5_000)
    usual = world.topic("usual")
    world.store(brief, usual, brief, usual)
    hold = world.footprint.hold()
    assert hold is not None
    assert (hold.topic, hold.place, hold.queues) == ("usual", 0, 2)
    assert hold.holding == {brief.queues[0].queue, usual.queues[0].queue}
    endless = world.topic("endless", retention_ms=0)
    world.store(endless, usual, usual, usual)
    hold = world.footprint.hold()
    assert hold is not None
    assert hold.topic == "usual", "the oldest range is still the first one"


@pytest.mark.parametrize(
    ("one", "other", "named"),
    [
        ({"retention_ms": 0}, {"retention_ms": 5_000}, "one"),
        ({"retention_ms": 5_000}, {"retention_ms": 6_000}, "other"),
        ({"retention_ms": 0, "retention_bytes": 9}, {"retention_ms": 6_000}, "one"),
        ({"retention_ms": 0, "retention_bytes": 9}, {"retention_ms": 0}, "other"),
    ],
)
def test_rules_are_compared_by_time_first(
    world: World, one: dict[str, int], other: dict[str, int], named: str
) -> None:
    """A bound of bytes alone forgets nothing by itself."""
    made = [world.topic("one", **one), world.topic("other", **other)]
    world.store(*made, *made)
    hold = world.footprint.hold()
    assert hold is not None
    assert hold.topic == named


def test_a_topic_is_told_which_of_its_queues_need_the_oldest_part(world: World) -> None:
    """Also one that needs nothing of it is told who does."""
    orders, audit = world.topic("orders", queues=2), world.topic("audit")
    world.store(orders, orders, orders, orders, audit)
    told = world.describe("audit")
    assert told.hold is not None
    assert told.hold.topic == "orders"
    assert told.hold.holding == {orders.queues[0].queue}


def test_the_status_looks_once_a_second(world: World) -> None:
    """A walk over fifty thousand queues is not made for every question."""
    orders = world.topic("orders")
    assert world.footprint.space().bytes == 0
    world.store(orders)
    assert world.footprint.space().bytes == 0
    world.shard.scheduler.advance(LOOK_NS)
    assert world.footprint.space().bytes == len(BATCH)


def test_only_the_largest_topics_are_named(world: World) -> None:
    """The sum is of all."""
    made = [world.topic(f"t{number:02}") for number in range(LARGEST + 2)]
    for number, topic in enumerate(made):
        world.store(*[topic] * (number + 1))
    space = world.footprint.space()
    assert [name for name, _ in space.largest] == [
        f"t{number:02}" for number in range(LARGEST + 1, 1, -1)
    ]
    assert space.bytes == sum(range(1, LARGEST + 3)) * len(BATCH)
