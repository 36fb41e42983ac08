"""Sessions: who is silent for too long is proposed to leave, by the leader, and never in haste."""

import pytest

from raftlog.base.errors import Throttled
from raftlog.service import sessions
from tests.service.consumers import MS, SESSION_MS, Consumers


@pytest.fixture
def world() -> Consumers:
    return Consumers()


def test_a_member_that_is_silent_for_its_session_is_expired(world: Consumers) -> None:
    """Not before, and soon after."""
    world.join("m1")
    world.pass_time(SESSION_MS - 200)
    assert world.members() == ["m1"]
    world.pass_time(400)
    assert (world.members(), world.sessions.expired, len(world.sessions)) == ([], 1, 0)


def test_heartbeats_keep_a_member(world: Consumers) -> None:
    """Each gives it a full session; the other one is silent."""
    world.join("m1")
    generation = world.join("m2").generation
    for _ in range(4):
        world.pass_time(SESSION_MS // 2)
        world.beat("m1", generation)
    assert world.members() == ["m1"]


def test_every_member_has_a_session_of_its_own_length(world: Consumers) -> None:
    """A short one behind a long one is not forgotten."""
    world.join("slow", session_ms=30_000)
    world.join("fast", session_ms=2_000)
    world.pass_time(2_500)
    assert world.members() == ["slow"]


def test_joining_again_counts_as_being_heard(world: Consumers) -> None:
    """It is what a client does that is not sure."""
    world.join("m1")
    world.pass_time(SESSION_MS - 500)
    world.join("m1")
    world.pass_time(SESSION_MS - 500)
    assert world.members() == ["m1"]


def test_a_new_leader_gives_every_member_a_full_session(world: Consumers) -> None:
    """It has heard of nobody yet, and the members are looking for it (ruling 25)."""
    world.join("m1")
    world.pass_time(SESSION_MS - 500)
    world.sessions.end()
    world.pass_time(SESSION_MS)
    assert world.members() == ["m1"]
    world.sessions.begin()
    world.turn()
    world.pass_time(SESSION_MS - 500)
    assert world.members() == ["m1"]
    world.pass_time(1_000)
    assert world.members() == []


def test_who_is_no_leader_expires_nobody(world: Consumers) -> None:
    """It keeps no sessions, so it cannot know."""
    world.join("m1")
    world.sessions.end()
    world.pass_time(3 * SESSION_MS)
    assert (world.members(), len(world.sessions), world.scheduler.armed) == (["m1"], 0, 0)


def test_members_that_were_applied_later_have_a_session_too(world: Consumers) -> None:
    """A new leader may have entries to apply that its predecessor's clients made."""
    world.sessions.end()
    world.join("m1")
    world.sessions.begin()
    world.join("m2", session_ms=2 * SESSION_MS)
    assert len(world.sessions) == 2
    world.pass_time(SESSION_MS + 200)
    assert world.members() == ["m2"]


def test_a_process_that_stood_still_gives_everybody_a_full_session(world: Consumers) -> None:
    """It did not hear them: their heartbeats are in its mail."""
    world.join("m1")
    world.scheduler.advance(10 * SESSION_MS * MS)
    world.turn()
    assert world.members() == ["m1"]
    world.pass_time(SESSION_MS + 200)
    assert world.members() == []


def test_an_expiry_that_was_refused_is_proposed_again_after_another_session(
    world: Consumers,
) -> None:
    """Not in every turn: the shard is busy."""
    world.join("m1")
    world.replica.refusal = Throttled("much waits")
    world.pass_time(SESSION_MS + 1_000)
    assert (world.members(), world.sessions.expired) == (["m1"], 1)
    world.replica.refusal = None
    world.pass_time(SESSION_MS)
    assert world.members() == []


def test_a_member_that_leaves_and_comes_back_has_one_deadline(world: Consumers) -> None:
    """Deadlines of earlier lives are dropped when they are due."""
    for _ in range(5):
        world.join("m1")
        world.groups.leave("billing", "m1", lambda _: None)
        world.replica.commit()
    world.join("m1")
    generation = world.join("m1").generation
    for _ in range(4):
        world.pass_time(SESSION_MS // 2)
        world.beat("m1", generation)
    assert world.members() == ["m1"]
    assert len(world.sessions._deadlines) == 1


def test_a_new_leader_takes_many_groups_in_over_several_turns(
    world: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand groups in one turn would hold up its first heartbeats."""
    monkeypatch.setattr(sessions, "ADOPTED_GROUPS_MAX", 2)
    for number in range(5):
        world.join("m1", group=f"g{number}")
    world.sessions.begin()
    assert len(world.sessions) == 2
    for _ in range(3):
        world.turn()
    assert len(world.sessions) == 5
