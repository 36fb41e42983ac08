"""What a node's status says of groups that are behind, whether or not anybody reads for them."""

import pytest

from raftlog.broker.claims import CommitOffsets
from raftlog.broker.lease_commands import AckMessages, ReceiveMessages
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroupChanges
from raftlog.service import group_lag
from raftlog.service.group_lag import LOOK_NS, GroupLag, lag_counters
from raftlog.service.proposing import propose_unheard
from raftlog.service.unread import UnreadTimes
from tests.service.consumers import Consumers
from tests.service.test_read import FakeRanges


class World:
    """Groups a, b and c of one topic: each has committed one record less than the one before."""

    def __init__(self) -> None:
        self.at = Consumers()
        self.queue, _ = self.at.queues()
        for number in range(1, 4):
            self.at.replica.log_time_ms = 1_000 * number
            self.at.store(self.queue, 1)
        for number, name in enumerate("abc"):
            generation = self.at.join("m1", group=name).generation
            self.claim(name, generation, 3 - number)
        self.now_ms = 10_000
        machine = self.at.machine
        self.lag = GroupLag(
            *(machine, UnreadTimes(machine, FakeRanges()), self.at.scheduler),
            lambda: self.now_ms,
        )

    def claim(self, group: str, generation: int, committed: int) -> None:
        """Let its member claim the queue and commit."""
        claims, replica = self.at.claims, self.at.replica
        claims.claim(group, "m1", generation, self.queue, lambda _: None)
        replica.commit()
        command = CommitOffsets(group, "m1", generation, ((self.queue, committed),))
        claims.commit(lambda: command, lambda _: None)
        replica.commit()

    def told(self, after_ns: int = LOOK_NS) -> tuple[int, ...]:
        """Ask after a while: groups behind, records of the last one, and its age."""
        self.at.scheduler.time_ns += after_ns
        return tuple(self.lag.counters().values())


def test_the_group_that_is_most_behind_is_told_and_how_many_are() -> None:
    """With members or without; what was seen is told for a second, and ages."""
    world = World()
    assert world.told() == (2, 2, 8_000)
    world.now_ms += 500
    world.at.store(world.queue, 1)
    assert world.told(LOOK_NS // 2) == (2, 2, 8_500)
    for name in "abc":
        world.at.groups.leave(name, "m1", lambda _: None)
    world.at.replica.commit()
    assert world.told() == (3, 3, 8_500)


def test_nobody_behind_is_nothing() -> None:
    """Also without any group."""
    world = World()
    for name in "bc":
        world.at.groups.leave(name, "m1", lambda _: None)
        world.at.replica.commit()
        world.at.groups.delete(name, lambda _: None)
    world.at.replica.commit()
    assert world.told() == (0, 0, 0)
    assert world.at.machine.groups.get("a") is not None


@pytest.mark.parametrize(("limit", "value"), [("LOOK_QUEUES_MAX", 1), ("LOOK_GROUPS_MAX", 1)])
def test_a_look_is_bounded_and_the_round_is_told_when_it_is_done(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    """Ten thousand groups must not hold up a heartbeat."""
    monkeypatch.setattr(group_lag, limit, value)
    world = World()
    assert [world.told() for _ in range(3)] == [(0, 0, 0), (0, 0, 0), (2, 2, 8_000)]
    world.at.store(world.queue, 1)
    assert [world.told() for _ in range(3)] == [(2, 2, 8_000)] * 2 + [(3, 3, 8_000)]


def test_queue_style_groups_are_counted_likewise() -> None:
    """What is in flight is not finished: it counts, and so does its age."""
    world = World()
    machine, replica = world.at.machine, world.at.replica
    topic = machine.queues.find(world.queue).topic
    commands = [
        OpenQueueGroup("work", (topic,), QueueGroupChanges()),
        ReceiveMessages("work", 7, 2),
        AckMessages("work", ((7, world.queue, (0,)),)),
    ]
    for command in commands:
        propose_unheard(replica, command)
        replica.commit()
    unread = UnreadTimes(machine, FakeRanges())
    _, counted = lag_counters(machine, unread, world.at.scheduler, lambda: world.now_ms)
    found = counted()
    assert found["queue_groups_behind_size"] == 1
    assert found["queue_group_lag_most_size"] == 2
    assert found["queue_group_lag_ms_most_size"] == world.now_ms - 2_000
