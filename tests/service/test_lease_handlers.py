"""Requests about queue-style groups: each field arrives, each mistake is told."""

import pytest

from raftlog.base.errors import (
    BadDelay,
    BadFilter,
    BadName,
    BadRequest,
    GroupNotFound,
    GroupStyle,
    RaftlogError,
    StaleLease,
    SubscriptionConflict,
    TopicNotFound,
)
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, groups, leases
from tests.service.test_feature_handlers import World
from tests.service.test_handlers import BATCH

GROUP = "work"


class Group(World):
    """A topic of one queue with a record, and a queue-style group that reads it."""

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.queues = self.create("orders", 1)
        for _ in range(3):
            self.append_one()
        self.made = self.open(**settings)

    def append_one(self) -> None:
        self.shard.store(BATCH, queue=self.queues[0])

    def open(self, **settings: object) -> leases.QueueGroupDescription:
        made = leases.QueueGroupSettings(**settings)  # type: ignore[arg-type]
        by = leases.OPENED_BY_CHANGE
        asked = leases.OpenQueueGroup(group=GROUP, topics=["orders"], settings=made, by=by)
        return self.get(Method.QUEUE_OPEN, asked, leases.QueueGroupDescription)

    def receive(self, handle: int, count: int = 1) -> leases.MessagesReceived:
        asked = leases.ReceiveMessages(group=GROUP, handle=handle, count_max=count)
        return self.get(Method.QUEUE_RECEIVE, asked, leases.MessagesReceived)

    def held(self, handle: int, *offsets: int) -> list[leases.LeasedMessages]:
        return [leases.LeasedMessages(handle=handle, queue=self.queues[0], offsets=offsets)]

    def give(self, handle: int, offset: int, **how: object) -> object:
        asked = leases.ReturnMessages(group=GROUP, messages=self.held(handle, offset), **how)  # type: ignore[arg-type]
        return self.ask(Method.QUEUE_RETURN, asked)

    def flights(self) -> list[leases.InFlight]:
        asked = leases.ListInFlight(group=GROUP)
        return list(self.get(Method.QUEUE_IN_FLIGHT, asked, leases.InFlightListed).messages)

    def describe(self) -> leases.QueueGroupDescription:
        asked = leases.DescribeQueueGroup(group=GROUP)
        return self.get(Method.QUEUE_DESCRIBE, asked, leases.QueueGroupDescription)


def test_settings_arrive_and_what_is_not_said_stays() -> None:
    """None of them is what 0 means elsewhere."""
    world = Group(lease_ms=5_000, retry_ms=[1, 2], fifo=True, poison=leases.POISON_POLICY_BLOCK)
    settings = world.open(attempts_max=3).settings
    assert (settings.lease_ms, settings.attempts_max, settings.fifo) == (5_000, 3, True)
    assert (list(settings.retry_ms), settings.poison) == ([1, 2], leases.POISON_POLICY_BLOCK)
    assert (settings.in_flight_max, world.made.dead_letter_topic) == (10_000, "%DLQ%work")


def test_what_a_group_reads_is_told_and_kept() -> None:
    """By hand, or by who consumes: then it is refused if the group reads something else."""
    world = Group()
    tagged = client.RecordFilter(tags=["b", "a"], condition="x = 1")

    def opened(**more: object) -> object:
        asked = leases.OpenQueueGroup(group=GROUP, topics=["orders"], **more)  # type: ignore[arg-type]
        return world.ask(Method.QUEUE_OPEN, asked)

    assert isinstance(opened(), leases.QueueGroupDescription)
    assert isinstance(opened(filter=tagged), SubscriptionConflict)
    replaced = opened(filter=tagged, by=leases.OPENED_BY_REPLACE, version=world.made.version)
    assert isinstance(replaced, leases.QueueGroupDescription)
    assert (list(replaced.filter.tags), replaced.filter.condition) == (["a", "b"], "x = 1")
    assert (replaced.version, replaced.by_hand) == (world.made.version + 1, True)
    assert isinstance(opened(), SubscriptionConflict)
    assert world.describe().filter == replaced.filter
    bad = client.RecordFilter(condition="x = ")
    assert isinstance(opened(filter=bad, by=leases.OPENED_BY_REPLACE), BadFilter)


def test_below_level_4_a_filter_is_refused_and_the_rest_goes_on() -> None:
    """An older member could not read it."""
    world = Group()
    world.shard.replica.machine.state.feature_level = 3
    plain = leases.OpenQueueGroup(group=GROUP, topics=["orders"])
    assert isinstance(world.ask(Method.QUEUE_OPEN, plain), leases.QueueGroupDescription)
    for more in ({"filter": client.RecordFilter(tags=["a"])}, {"version": 2}):
        world.shard.replica.machine.state.feature_level = 3
        asked = leases.OpenQueueGroup(group=GROUP, topics=["orders"], **more)  # type: ignore[arg-type]
        refused = world.ask(Method.QUEUE_OPEN, asked)
        assert isinstance(refused, BadRequest)
        assert "feature level 4" in str(refused)


def test_messages_are_received_and_settled_in_every_way() -> None:
    """And what is in flight is told meanwhile."""
    world = Group(attempts_max=1, poison=leases.POISON_POLICY_BLOCK)
    got = world.receive(7, 4)
    assert [list(each.numbers) for each in got.leased] == [[0, 1], [0, 1]]
    assert [list(each.attempts) for each in got.leased] == [[1], [1]]
    assert [(each.topic, each.place) for each in got.queues] == [("orders", 0)]
    assert got.lease_ms == 30_000
    acked = leases.AckMessages(group=GROUP, messages=world.held(7, 0))
    assert not world.get(Method.QUEUE_ACK, acked, leases.MessagesSettled).stale
    extended = leases.ExtendLeases(group=GROUP, messages=world.held(7, 0, 1), lease_ms=60_000)
    stale = world.get(Method.QUEUE_EXTEND, extended, leases.MessagesSettled).stale
    assert [(each.offset, each.handle) for each in stale] == [(0, 7)]
    world.give(7, 1, how=leases.GIVE_BACK_UNTRIED, delay_ms=500)
    world.give(7, 2, reason="bad")
    states = [(each.offset, each.state, each.attempts, each.reason) for each in world.flights()]
    assert states == [
        (1, leases.FLIGHT_STATE_WAITING, 0, ""),
        (2, leases.FLIGHT_STATE_BLOCKED, 1, "bad"),
        (3, leases.FLIGHT_STATE_LEASED, 1, ""),
    ]
    found = world.describe()
    assert (found.in_flight, found.leased, found.blocked, found.unread) == (3, 1, 1, 2)
    assert [(each.next_offset, each.end_offset) for each in found.queues] == [(4, 6)]
    blocked = leases.ListInFlight(group=GROUP, blocked=True)
    rows = world.get(Method.QUEUE_IN_FLIGHT, blocked, leases.InFlightListed).messages
    assert [row.offset for row in rows] == [2]
    decided = leases.DecideBlocked(
        group=GROUP, queue=world.queues[0], offset=2, verdict=leases.VERDICT_SKIP
    )
    world.get(Method.QUEUE_DECIDE, decided, leases.MessagesSettled)
    world.get(Method.QUEUE_DECIDE, decided, leases.MessagesSettled)
    decided.verdict = leases.VERDICT_RETRY
    assert isinstance(world.ask(Method.QUEUE_DECIDE, decided), StaleLease)
    listed = world.get(Method.QUEUE_LIST, leases.ListQueueGroups(), leases.QueueGroupsListed)
    assert [(each.group, each.in_flight, each.unread) for each in listed.groups] == [(GROUP, 2, 2)]


@pytest.mark.parametrize("delay_ms", [-1, 24 * 3_600_000 + 1])
def test_a_delay_that_is_none_is_refused(delay_ms: int) -> None:
    """-1 means something else inside."""
    world = Group()
    world.receive(7)
    assert isinstance(world.give(7, 0, delay_ms=delay_ms), BadDelay)
    assert world.flights()[0].state == leases.FLIGHT_STATE_LEASED


def test_mistakes_are_typed() -> None:
    """Before they are in the log, where that can be seen."""
    world = Group()
    world.receive(7)

    def opened(group: str, topic: str, **settings: object) -> object:
        made = leases.QueueGroupSettings(**settings)  # type: ignore[arg-type]
        asked = leases.OpenQueueGroup(group=group, topics=[topic], settings=made)
        return world.ask(Method.QUEUE_OPEN, asked)

    joined = groups.JoinGroup(
        group="stream", member="m", topics=["orders"], session_ms=10_000, client="c"
    )
    world.ask(Method.GROUP_JOIN, joined)
    wrong = leases.AckMessages(group=GROUP, messages=world.held(8, 0))
    nothing = leases.AckMessages(group=GROUP)
    expected: list[tuple[object, type[RaftlogError]]] = [
        (opened("no/name", "orders"), BadName),
        (opened("g" * 123, "orders"), BadName),
        (opened("other", "none"), TopicNotFound),
        (opened("other", "orders", attempts_max=0), BadRequest),
        (opened("stream", "orders"), GroupStyle),
        (world.ask(Method.QUEUE_ACK, wrong), StaleLease),
        (world.ask(Method.QUEUE_ACK, nothing), BadRequest),
        (world.ask(Method.QUEUE_DESCRIBE, leases.DescribeQueueGroup(group="x")), GroupNotFound),
        (world.ask(Method.QUEUE_IN_FLIGHT, leases.ListInFlight(group="x")), GroupNotFound),
    ]
    for found, kind in expected:
        assert isinstance(found, kind), (found, kind)
