"""Passing time: what is due is done although nobody sends anything."""

import pytest

from raftlog.base.errors import Throttled
from raftlog.base.limits import PRODUCER_FORGOTTEN_MS
from raftlog.broker.timetable import NEVER_MS
from raftlog.broker.topics import TopicChanges
from raftlog.service.passing_time import NS_PER_MS, RETRY_NS, WAIT_MS_MAX, PassingTime
from tests.broker.logs import sent
from tests.service.fakes import FakeReplica, FakeScheduler, topic_service

PRODUCER = 1 << 16
START_MS = 1_000


class World:
    """A leader of a shard whose log time is the scheduler's, from ``START_MS`` on."""

    def __init__(self) -> None:
        self.replica = FakeReplica()
        self.machine = self.replica.machine
        self.scheduler = FakeScheduler()
        topic_service(self.replica, self.machine).create(
            "orders", TopicChanges(queues=1), lambda _: None
        )
        self.replica.log_time_ms = START_MS
        self.replica.commit()
        self.passing = PassingTime(self.replica, self.machine, self.scheduler)

    def send(self) -> None:
        """Have a producer, whose row is due to be forgotten later."""
        command = sent(1, PRODUCER, 0)
        self.replica.propose(command.type, command.parts, lambda *_: None)
        self.replica.commit()

    def pass_ms(self, ms: int, *, slow: int = 0) -> None:
        """Let time pass; log time is ``slow`` behind. Commit what is proposed."""
        while ms:
            step = min(ms, WAIT_MS_MAX)
            ms -= step
            self.replica.log_time_ms += step
            self.scheduler.advance(step * NS_PER_MS)
        self.replica.log_time_ms -= slow
        if self.replica.proposed:
            self.replica.commit()

    @property
    def rows(self) -> int:
        """How many producers are known."""
        return len(self.machine.producers.table)


@pytest.fixture
def world() -> World:
    return World()


def test_a_leader_of_whom_nothing_is_due_does_nothing(world: World) -> None:
    """No timer, no entry."""
    world.passing.begin()
    assert (world.passing.proposed, world.scheduler.armed) == (0, 0)
    assert world.machine.next_due_ms == NEVER_MS


def test_what_is_due_is_done_in_its_time_in_an_idle_log(world: World) -> None:
    """The entry comes when log time has got there, and not before."""
    world.passing.begin()
    world.send()
    world.pass_ms(PRODUCER_FORGOTTEN_MS - 1)
    assert (world.passing.proposed, world.rows) == (0, 1)
    world.pass_ms(1)
    assert (world.passing.proposed, world.rows) == (1, 0)
    assert world.scheduler.armed == 0


def test_a_stamp_that_is_early_is_waited_for(world: World) -> None:
    """Log time is steered: it may run a tenth slower than this node's clock."""
    world.passing.begin()
    world.send()
    world.pass_ms(PRODUCER_FORGOTTEN_MS, slow=5)
    assert (world.passing.proposed, world.rows) == (1, 1)
    world.pass_ms(5)
    assert (world.passing.proposed, world.rows) == (2, 0)


def test_a_new_leader_looks_at_once(world: World) -> None:
    """The cluster may have stood still for longer than this node can tell."""
    world.send()
    world.replica.log_time_ms += PRODUCER_FORGOTTEN_MS
    world.passing.begin()
    world.replica.commit()
    assert (world.passing.proposed, world.rows) == (1, 0)


def test_a_refusal_is_asked_again(world: World) -> None:
    """What is due does not wait for somebody to send something."""
    world.send()
    world.replica.refusal = Throttled("no room", 0.1)
    world.passing.begin()
    world.replica.refusal = None
    world.replica.log_time_ms += PRODUCER_FORGOTTEN_MS
    world.scheduler.advance(PRODUCER_FORGOTTEN_MS * NS_PER_MS + RETRY_NS)
    world.replica.commit()
    assert (world.passing.proposed, world.rows) == (2, 0)


def test_who_leads_no_more_proposes_nothing(world: World) -> None:
    """No timer is left to fire."""
    world.passing.begin()
    world.send()
    world.passing.end()
    assert world.scheduler.armed == 0
    world.pass_ms(PRODUCER_FORGOTTEN_MS)
    assert world.passing.proposed == 0


def test_more_than_an_entry_may_do_is_done_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entry after entry until nothing is left, one at a time."""
    monkeypatch.setattr("raftlog.broker.timetable.DUE_PER_ENTRY_MAX", 2)
    for number in range(1, 6):
        command = sent(1, number << 16, 0)
        world.replica.propose(command.type, command.parts, lambda *_: None)
    world.replica.commit()
    world.passing.begin()
    world.replica.log_time_ms += PRODUCER_FORGOTTEN_MS
    left = []
    while world.replica.proposed:
        world.replica.commit()
        left.append(world.rows)
    assert left == [3, 1, 0]
