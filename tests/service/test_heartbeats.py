"""Heartbeats: at once when something is new, else a wait that apply ends."""

import pytest

from raftlog.base.errors import NotLeader, UnknownMember
from raftlog.base.ids import NodeId
from raftlog.broker.group_commands import (
    Assignment,
    Subscription,
)
from raftlog.broker.topics import TopicChanges
from raftlog.service.burying import Burying
from raftlog.service.checks import CheckService
from raftlog.service.copying_forward import CopyingForward
from raftlog.service.filtering import FilterService
from raftlog.service.levelling import Levelling
from raftlog.service.passing_time import PassingTime
from raftlog.service.receiving import ReceiveService
from raftlog.service.reign import Reign
from raftlog.service.relocating import Relocating
from raftlog.service.retention import RetentionService
from tests.service.consumers import MS, SECOND, SESSION_MS, Consumers
from tests.service.fakes import FakeReader
from tests.service.test_read import FakeBodies, FakeRanges, read_service


@pytest.fixture
def world() -> Consumers:
    return Consumers()


def generation_told(world: Consumers) -> int:
    """Return the generation of the only answer."""
    assignment = world.told()
    assert isinstance(assignment, Assignment), assignment
    return assignment.generation


def test_a_generation_that_the_member_does_not_know_is_told_at_once(world: Consumers) -> None:
    """With what it reads in it."""
    first, _ = world.queues()
    world.join("m1")
    generation = world.join("m0").generation
    world.beat("m0", generation - 1, wait_ns=SECOND)
    assignment = world.told()
    assert isinstance(assignment, Assignment)
    assert assignment.generation == generation
    assert [each.queue for each in assignment.queues] == [first]


def test_a_new_generation_ends_the_wait(world: Consumers) -> None:
    """Woken by apply: a rebalance takes no heartbeat interval."""
    generation = world.join("m1").generation
    world.beat("m1", generation, wait_ns=SECOND)
    assert world.answers == []
    world.groups.join(
        "billing", "m2", Subscription(("orders",)), lambda _: None, session_ms=SESSION_MS
    )
    world.replica.commit()
    assert generation_told(world) == generation + 1
    assert len(world.heartbeats.waiting) == 0


def test_more_queues_of_a_topic_begin_a_generation(world: Consumers) -> None:
    """Otherwise nobody would read them."""
    generation = world.join("m1").generation
    world.beat("m1", generation, wait_ns=SECOND)
    world.topics.alter("orders", TopicChanges(queues=3), lambda _: None)
    world.replica.commit()
    assignment = world.told()
    assert isinstance(assignment, Assignment)
    assert len(assignment.queues) == 3


def test_another_group_s_generation_wakes_nobody(world: Consumers) -> None:
    """Ten thousand idle groups cost a busy one nothing."""
    generation = world.join("m1").generation
    world.beat("m1", generation, wait_ns=SECOND)
    world.groups.join(
        "other", "m1", Subscription(("orders",)), lambda _: None, session_ms=SESSION_MS
    )
    world.replica.commit()
    assert (world.answers, len(world.heartbeats.waiting)) == ([], 1)


def test_without_news_the_wait_ends_with_what_the_member_knows(world: Consumers) -> None:
    """At once if it does not want to wait."""
    known = world.join("m1")
    world.beat("m1", known.generation)
    assert world.told() == known
    world.beat("m1", known.generation, wait_ns=2 * SECOND)
    world.scheduler.advance(2 * SECOND)
    assert world.told() == known


def test_a_wait_is_shorter_than_the_session(world: Consumers) -> None:
    """Or a member would expire while it waits for an answer."""
    known = world.join("m1", session_ms=4_000)
    world.beat("m1", known.generation, wait_ns=60 * SECOND)
    world.scheduler.advance(2_000 * MS)
    assert world.told() == known


def test_who_is_no_member_must_join_again(world: Consumers) -> None:
    """Told only when that is certain: a new leader may not have applied the join yet."""
    world.beat("m1", 1, wait_ns=SECOND)
    assert world.answers == []
    world.replica.confirm()
    assert isinstance(world.told(), UnknownMember)


def test_a_member_whose_join_is_applied_meanwhile_is_none_the_less_one(world: Consumers) -> None:
    """n1 commits the join and dies; the member beats at n2 before n2 has applied it."""
    world.beat("m1", 1)
    world.join("m1")
    world.replica.confirm()
    assert generation_told(world) == 1


def test_what_a_member_is_told_never_goes_back(world: Consumers) -> None:
    """A leader that is behind what the member knows catches up first."""
    world.join("m1")
    world.beat("m1", 2, wait_ns=SECOND)
    assert world.answers == []
    world.join("m0")
    world.replica.confirm()
    world.scheduler.advance(SECOND)
    assert generation_told(world) == 2


def test_an_expired_member_that_waits_learns_it_at_once(world: Consumers) -> None:
    """It was silent for its session, and wakes together with its answer."""
    generation = world.join("m1").generation
    world.beat("m1", generation, wait_ns=SECOND)
    world.groups.leave("billing", "m1", lambda _: None)
    world.replica.commit()
    world.replica.confirm()
    assert isinstance(world.told(), UnknownMember)


def test_only_the_leader_answers(world: Consumers) -> None:
    """Others keep no sessions: a heartbeat there would keep nobody alive."""
    generation = world.join("m1").generation
    world.sessions.end()
    world.replica.leads, world.replica.leader = False, NodeId("n2")
    world.beat("m1", generation, wait_ns=SECOND)
    error = world.told()
    assert isinstance(error, NotLeader)
    assert error.leader_hint == "n2"


def test_who_waits_when_leadership_is_lost_is_told_whom_to_ask(world: Consumers) -> None:
    """Its session begins at the new leader now."""
    generation = world.join("m1").generation
    retention = RetentionService(world.replica, world.machine, FakeRanges(), world.scheduler)
    passing = PassingTime(world.replica, world.machine, world.scheduler)
    bodies = FakeBodies(world.replica)
    relocating = Relocating(world.replica, world.machine, bodies, world.scheduler)
    parts = FakeRanges(), bodies, world.scheduler
    copying = CopyingForward(world.replica, world.machine, *parts)
    checks = CheckService(world.replica, world.machine, bodies, passing, world.scheduler)
    read = read_service(world.replica, world.scheduler)
    filters = FilterService(read, FakeReader())
    reign = Reign(
        *(world.sessions, world.heartbeats, retention, passing, relocating),
        *(copying, checks, ReceiveService(read, FakeReader(), filters)),
        Burying(read, FakeReader()),
        Levelling(world.replica, world.machine, world.scheduler, lambda _: 0, lambda _: True),
    )
    world.beat("m1", generation, wait_ns=SECOND)
    world.replica.leads, world.replica.leader = False, NodeId("n2")
    reign.stop()
    error = world.told()
    assert isinstance(error, NotLeader)
    assert (error.leader_hint, world.scheduler.armed) == ("n2", 0)


def test_a_cancelled_heartbeat_is_never_answered(world: Consumers) -> None:
    """Its connection is gone."""
    generation = world.join("m1").generation
    world.beat("m1", generation, wait_ns=SECOND).cancel()
    world.join("m2")
    world.scheduler.advance(2 * SECOND)
    assert world.answers == []
