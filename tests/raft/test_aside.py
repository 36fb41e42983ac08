"""A drained node: it leads only if nobody else can, and never keeps a shard without a leader."""

import pytest

from raftlog.base.membership import Membership
from raftlog.raft.events import Campaign, ConnectionLost, StandAside, Transfer
from raftlog.raft.precedence import ASIDE_ROUNDS, rounds_to_sit_out
from raftlog.raft.rpcs import HeartbeatReply, PreVoteRequest
from tests.raft.harness import N1, N2, N3, R1, R2, R3, World

ASIDE = StandAside(is_aside=True)
THREE = Membership((R1, R2, R3))


@pytest.mark.parametrize("seed", range(8))
def test_another_one_wins_the_election(seed: int) -> None:
    """However the timers fall; the drained one gives its vote."""
    world = World(3, seed=seed)
    world.elect(N1)
    world[N2].step(ASIDE)
    world.isolate(N1)
    world.run(1_000, until=lambda: world[N2].is_leader or world[N3].is_leader)

    assert world[N3].is_leader


def test_it_stands_if_nobody_else_can_win() -> None:
    """n3 lacks what n1 and n2 have committed, and n1 is gone: only n2 may lead."""
    world = World(3)
    leader = world.elect(N1)
    world.isolate(N3)
    leader.propose(b"more")
    world.settle()
    world[N2].step(ASIDE)
    world.heal()
    world.isolate(N1)
    config = world.config
    patience = config.election_ticks_max + (ASIDE_ROUNDS + 4) * config.election_ticks_max // 4
    world.run(patience, until=lambda: world[N2].is_leader)

    assert world[N2].is_leader


def test_somebody_leads_where_all_are_drained() -> None:
    """An operator may have forgotten to undo it anywhere."""
    world = World(3)
    for node in world.nodes.values():
        node.step(ASIDE)
    world.run(1_000, until=lambda: world.leader is not None)

    assert world.leader is not None


def test_the_only_voter_has_nobody_to_wait_for() -> None:
    """It leads as soon as it always did."""
    world = World(1)
    world[N1].step(ASIDE)
    world.run(3)

    assert world[N1].is_leader


def test_it_is_as_before_when_that_is_undone() -> None:
    """The first round is its own again."""
    world = World(3)
    world.elect(N1)
    for is_aside in (True, False):
        world[N2].step(StandAside(is_aside=is_aside))
    world.isolate(N1)
    for node in (N2, N3):
        world[node].step(ConnectionLost(N1))
    world[N2].step(Campaign())

    assert world.select(PreVoteRequest, sender=N2) != []


def test_it_sits_out_a_new_election_as_long_as_the_last() -> None:
    """A leader that was heard meanwhile ends the count."""
    world = World(3)
    world.elect(N1)
    world[N2].step(ASIDE)
    for _ in range(2):
        world.cut = {(N1, N2)}
        world.run(world.config.election_ticks_max + world.config.election_ticks_min // 2)
        assert world.select(PreVoteRequest, sender=N2) == []
        world.heal()
        world.run(2 * world.config.heartbeat_ticks)
        assert world[N2].core.leader == N1


def test_the_leader_hears_of_it_with_the_next_heartbeat() -> None:
    """And hands over to another one, unless the drained one is all there is."""
    world = World(3)
    leader = world.elect(N1)
    world[N2].step(ASIDE)
    world.run(2 * world.config.heartbeat_ticks)
    leader.step(Transfer())
    world.settle()
    assert world[N3].is_leader

    world.isolate(N1)
    world.run(2 * world.config.election_ticks_min)
    world[N3].step(Transfer())
    world.settle()
    assert world[N2].is_leader


def test_an_answer_says_it_also_to_a_leader_of_an_old_term() -> None:
    """The next one will be told by its own heartbeats."""
    world = World(3)
    world.elect(N1)
    world[N2].step(ASIDE)
    world.run(world.config.heartbeat_ticks)
    replies = [
        sent.message
        for sent in world.history
        if sent.sender == R2 and isinstance(sent.message, HeartbeatReply)
    ]

    assert replies[-1].is_aside


@pytest.mark.parametrize(
    ("membership", "rounds"),
    [
        (THREE, ASIDE_ROUNDS),
        (Membership((R1,)), 0),
        (Membership((R1,), (R1, R2)), ASIDE_ROUNDS),
        (Membership((R1,), (), (R2,)), 0),
    ],
)
def test_rounds_are_left_only_to_those_who_vote(membership: Membership, rounds: int) -> None:
    """A learner can't lead instead."""
    assert rounds_to_sit_out(membership, N1, is_aside=True) == rounds
