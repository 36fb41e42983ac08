"""Preferred leaders: who stands first, and what the configuration remembers of it."""

from typing import Final

import pytest

from raftlog.base.errors import BadChange, MemberNotFound
from raftlog.base.ids import Index, NodeId
from raftlog.base.membership import Membership, decode_membership
from raftlog.raft import precedence
from raftlog.raft.changes import Demote, Prefer, Remove, Replace, next_membership
from raftlog.raft.events import ConnectionLost
from raftlog.raft.precedence import (
    BEHIND_ENTRIES,
    BEHIND_ROUNDS,
    PREFERENCE_ROUNDS_MAX,
    rounds_to_sit_out,
)
from tests.raft.harness import N1, N2, N3, N4, N5, R1, R2, R3, R4, R5, World

FIVE: Final = Membership((R1, R2, R3, R4, R5))
PREFERS: Final = Membership((R1, R2, R3), preferred=(N2, N3))


def preferring(world: World, *nodes: NodeId) -> None:
    """Let n1 lead and commit that ``nodes`` are preferred."""
    leader = world.elect(N1)
    world.settle()
    assert isinstance(leader.change(Prefer(nodes)), int)
    world.settle()
    world.run(2 * world.config.heartbeat_ticks)


@pytest.mark.parametrize(
    ("preferred", "led", "rounds"),
    [
        ((), None, 0),
        ((N1,), None, 0),
        ((N2,), None, 1),
        ((N2, N1, N3), None, 1),
        ((N2,), N2, 0),
        ((N2, N3), N2, 1),
        ((N2, N3, N4, N5), None, PREFERENCE_ROUNDS_MAX),
        ((NodeId("gone"),), None, 0),
    ],
)
def test_who_is_not_preferred_leaves_rounds_to_who_is(
    preferred: tuple[NodeId, ...], led: NodeId | None, rounds: int
) -> None:
    """Except to the leader whose silence is why there is an election."""
    membership = Membership(FIVE.voters, preferred=preferred)

    assert rounds_to_sit_out(membership, N1, is_aside=False, led=led) == rounds


@pytest.mark.parametrize(
    ("unapplied", "preferred", "rounds"),
    [
        (0, (), 0),
        (BEHIND_ENTRIES, (), 0),
        (BEHIND_ENTRIES + 1, (), BEHIND_ROUNDS),
        (BEHIND_ENTRIES + 1, (N2,), BEHIND_ROUNDS),
        (BEHIND_ENTRIES, (N2,), 1),
    ],
)
def test_who_has_yet_to_apply_much_leaves_rounds_to_others(
    unapplied: int, preferred: tuple[NodeId, ...], rounds: int
) -> None:
    """It could not serve before that is done; who has it behind it can."""
    membership = Membership(FIVE.voters, preferred=preferred)
    assert rounds_to_sit_out(membership, N1, is_aside=False, unapplied=unapplied) == rounds


@pytest.mark.parametrize("behind", [(N2,), (N3,), (N2, N3)], ids=str)
def test_who_has_applied_all_leads_if_there_is_one(
    behind: tuple[NodeId, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that was started a moment ago, and replays; if all do, one of them leads in time."""
    monkeypatch.setattr(precedence, "BEHIND_ENTRIES", 3)
    world = World(3)
    world.elect(N1).propose(b"a", b"b", b"c", b"d", b"e")
    world.settle()
    world.run(2 * world.config.heartbeat_ticks)
    world.isolate(N1)
    for node in behind:
        world[node].core.applied = Index(0)
    for node in (N2, N3):
        world[node].step(ConnectionLost(N1))
    quarter = world.config.election_ticks_max // 4
    world.run(
        world.config.hint_ticks_max + 1 + (2 * quarter if len(behind) == 2 else 0),
        until=lambda: world[N2].is_leader or world[N3].is_leader,
    )
    (leader,) = [node for node in (N2, N3) if world[node].is_leader]
    assert leader not in behind or len(behind) == 2


def test_the_preferred_one_wins_most_elections() -> None:
    """Not all: where its own timer is among the longest, nobody waits for it."""
    won = 0
    for seed in range(40):
        world = World(3, seed=seed)
        preferring(world, N3)
        world.isolate(N1)
        world.run(1_000, until=lambda: world[N2].is_leader or world[N3].is_leader)  # noqa: B023
        won += world[N3].is_leader
    assert won > 28, "chance alone makes it 20"


def test_an_election_does_not_wait_for_preferred_ones_that_are_down() -> None:
    """It costs rounds, which run out; the leader has just been started again, too."""
    world = World(5)
    preferring(world, N3, N4)
    world.isolate(N3, N4)
    world[N1].crash()
    config = world.config
    patience = config.election_ticks_max + 2 * config.election_ticks_max
    world.run(patience, until=lambda: world.leader is not None)

    assert world.leader is not None
    assert world.leader.id in (N1, N2, N5)


# -- the change


def test_it_is_one_entry_and_is_remembered_by_all() -> None:
    """Also across a restart."""
    world = World(3)
    preferring(world, N2, N1)
    assert world[N1].change(Prefer((N2, N1))) == 0
    for node in world.nodes.values():
        node.crash()

    assert {node.core.membership.preferred for node in world.nodes.values()} == {(N2, N1)}
    assert decode_membership(PREFERS.encode()) == PREFERS


@pytest.mark.parametrize(
    ("nodes", "error", "why"),
    [
        ((N4,), MemberNotFound, "n4 is no member of the shard; its members are n1, n2, n3, n5"),
        ((N1, N1), BadChange, "a node is named twice in n1, n1"),
        ((N1, N5), BadChange, "n5 is a learner, and only a voter can lead"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(
    nodes: tuple[NodeId, ...], error: type[Exception], why: str
) -> None:
    """A stranger; the same one twice; one that decides nothing."""
    membership = Membership((R1, R2, R3), learners=(R5,), preferred=(N2, N3))
    with pytest.raises(error, match=why):
        next_membership(membership, Prefer(nodes))


def test_asking_again_is_harmless_though_one_was_demoted_meanwhile() -> None:
    """It is preferred again once it votes."""
    membership = Membership((R1, R2), learners=(R3,), preferred=(N2, N3))

    assert next_membership(membership, Prefer((N2, N3))) is None
    nobody = next_membership(membership, Prefer(()))
    assert nobody is not None
    assert nobody.preferred == ()


def test_only_a_removal_by_an_operator_forgets_a_preference() -> None:
    """Not a demotion, nor another directory."""
    demoted = next_membership(PREFERS, Demote(N2))
    replaced = next_membership(PREFERS, Replace(R2))
    removed = next_membership(PREFERS, Remove(N2))
    assert demoted is not None
    assert replaced is not None
    assert removed is not None

    assert demoted.preferred == replaced.preferred == (N2, N3)
    assert removed.preferred == (N3,)
