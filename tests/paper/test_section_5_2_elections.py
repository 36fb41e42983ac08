"""Raft paper §5.2: leader election; its parallel §9.3: random timeouts avoid split votes."""

from collections import Counter
from typing import Final

import pytest

from raftlog.base.ids import Index, ReplicaId, Term
from raftlog.base.writes import HardState
from raftlog.raft.effects import Role
from raftlog.raft.events import Campaign
from raftlog.raft.rpcs import (
    AppendRequest,
    Heartbeat,
    PreVoteReply,
    PreVoteRequest,
    VoteReply,
    VoteRequest,
)
from tests.raft.harness import N1, N2, N3, R1, R2, World, node_id, replica_id


def candidate_of(size: int) -> World:
    """Return a world in which n1 is a candidate in term 1 and nobody has answered."""
    world = World(size)
    node = world[N1]
    node.step(Campaign())
    for number in range(2, size + 1):
        if node.core.role is Role.PRE_CANDIDATE:
            node.receive(replica_id(number), PreVoteReply(Term(1), granted=True))
    world.drop_all_but(VoteRequest)
    return world


def test_a_server_starts_as_follower() -> None:
    """§5.2: when servers start up, they begin as followers."""
    assert World(3)[N1].core.role is Role.FOLLOWER


def test_a_leader_sends_heartbeats_at_every_interval() -> None:
    """§5.2: leaders send periodic heartbeats to all followers."""
    world = World(3)
    leader = world.elect(N1)
    for _ in range(3):
        for _ in range(world.config.heartbeat_ticks - 1):
            leader.tick()
            assert world.mail == []
        leader.tick()

        assert {sent.to for sent in world.select(Heartbeat)} == {N2, N3}
        world.settle()


def test_a_follower_without_heartbeats_starts_an_election() -> None:
    """§5.2: no communication over the election timeout; it asks all others, pre-vote first."""
    world = World(3)
    world.elect(N2)
    follower = world[N1]
    follower.tick(world.config.election_ticks_max)

    assert follower.core.role is Role.PRE_CANDIDATE
    asked = {sent.to: sent.message for sent in world.select(PreVoteRequest)}
    assert asked == dict.fromkeys((N2, N3), PreVoteRequest(Term(2), Term(1), Index(1)))
    assert follower.core.term == Term(1), "a pre-vote raises no term (§9.6)"


def test_an_election_increments_the_term_and_votes_for_itself() -> None:
    """§5.2: increments its current term and votes for itself, durably before it asks."""
    world = candidate_of(3)

    assert world[N1].hard_state == HardState(Term(1), R1)
    assert {sent.to for sent in world.select(VoteRequest)} == {N2, N3}


def test_a_candidate_without_a_result_starts_a_new_election() -> None:
    """§5.2: each candidate will time out and start a new election by incrementing its term."""
    world = candidate_of(3)
    world.drop()
    world[N1].tick(world.config.election_ticks_max)
    world[N1].receive(R2, PreVoteReply(Term(2), granted=True))

    assert world[N1].core.role is Role.CANDIDATE
    assert world[N1].hard_state == HardState(Term(2), R1)


ROUNDS: Final = [
    # size, granted, refused, role
    (1, "", "", Role.LEADER),
    (3, "2", "", Role.LEADER),
    (3, "23", "", Role.LEADER),
    (3, "", "", Role.CANDIDATE),
    (3, "", "2", Role.CANDIDATE),
    (3, "", "23", Role.FOLLOWER),
    (3, "3", "2", Role.LEADER),
    (5, "2345", "", Role.LEADER),
    (5, "23", "", Role.LEADER),
    (5, "23", "45", Role.LEADER),
    (5, "2", "", Role.CANDIDATE),
    (5, "2", "34", Role.CANDIDATE),
    (5, "2", "345", Role.FOLLOWER),
    (5, "", "", Role.CANDIDATE),
    (5, "", "234", Role.FOLLOWER),
]


@pytest.mark.parametrize(("size", "granted", "refused", "role"), ROUNDS)
def test_one_round_of_votes_decides_by_majority(
    size: int, granted: str, refused: str, role: Role
) -> None:
    """§5.2: it wins with a majority of the full cluster in the same term."""
    node = candidate_of(size)[N1]
    answers = [(n, True) for n in granted] + [(n, False) for n in refused]
    for number, answer in answers:
        node.receive(replica_id(int(number)), VoteReply(Term(1), granted=answer))

    assert (node.core.role, node.core.term) == (role, Term(1))


def test_a_vote_that_is_repeated_counts_once() -> None:
    """A message may be delivered twice; a majority is of servers, not of messages."""
    node = candidate_of(5)[N1]
    for _ in range(3):
        node.receive(R2, VoteReply(Term(1), granted=True))

    assert node.core.role is Role.CANDIDATE


VOTES: Final = [
    # vote so far, candidate, granted
    (None, R1, True),
    (None, R2, True),
    (R1, R1, True),
    (R2, R2, True),
    (R1, R2, False),
    (R2, R1, False),
]


@pytest.mark.parametrize(("vote", "candidate", "granted"), VOTES)
def test_a_server_votes_for_at_most_one_candidate_in_a_term(
    vote: ReplicaId | None, candidate: ReplicaId, *, granted: bool
) -> None:
    """§5.2: first come, first served; the same candidate may ask again."""
    world = World(3, hard_states={N3: HardState(Term(1), vote)})
    world[N3].receive(candidate, VoteRequest(Term(1), Term(0), Index(0), transfer=False))

    assert world.take_one(VoteReply).granted is granted


@pytest.mark.parametrize("term", [1, 2])
def test_a_candidate_falls_back_when_another_leads(term: int) -> None:
    """§5.2: an append from a leader whose term is at least as large makes it a follower."""
    node = candidate_of(3)[N1]
    node.receive(R2, AppendRequest(Term(term), Term(0), Index(0), Index(0), ()))

    assert (node.core.role, node.core.term, node.core.leader) == (Role.FOLLOWER, Term(term), N2)


def timeouts(role: Role, samples: int) -> Counter[int]:
    """Return how often each timeout was drawn by ``samples`` fresh nodes in ``role``."""
    drawn: Counter[int] = Counter()
    for seed in range(samples):
        node = World(3, seed=seed)[N1]
        if role is Role.CANDIDATE:
            node.step(Campaign())
            node.receive(R2, PreVoteReply(Term(1), granted=True))
        else:
            node.receive(R2, Heartbeat(Term(1), Index(0), 1))
        assert node.core.role is role
        drawn[node.core.next_deadline()] += 1
    return drawn


@pytest.mark.parametrize(("role", "divisor"), [(Role.FOLLOWER, 1), (Role.CANDIDATE, 4)])
def test_election_timeouts_are_random_over_their_whole_range(role: Role, divisor: int) -> None:
    """§5.2: chosen randomly from a fixed interval; a round without a leader is shorter."""
    config = World(3).config
    low, high = config.election_ticks_min // divisor, config.election_ticks_max // divisor
    drawn = timeouts(role, 1_000)
    thirds = Counter((timeout - low) * 3 // (high - low + 1) for timeout in drawn.elements())

    assert set(drawn) <= set(range(low, high + 1))
    assert len(drawn) > 0.9 * (high - low)
    assert set(thirds) == {0, 1, 2}
    assert min(thirds.values()) > 200, f"far from uniform: {thirds}"


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE])
def test_random_timeouts_seldom_conflict(role: Role) -> None:
    """§5.2: so in most cases only a single server will time out; ties stay rare."""
    conflicts = 0
    rounds = 200
    for seed in range(rounds):
        world = World(5, seed=seed)
        for number in range(1, 6):
            node = world[node_id(number)]
            if role is Role.CANDIDATE:
                node.step(Campaign())
            else:
                node.receive(replica_id(number % 5 + 1), Heartbeat(Term(1), Index(0), 1))
        deadlines = sorted(node.core.next_deadline() for node in world.nodes.values())
        conflicts += deadlines[0] == deadlines[1]

    # Five draws from 51 (followers) or 14 (candidates) values: 9 % and 34 % are expected.
    assert conflicts < rounds * (0.2 if role is Role.FOLLOWER else 0.5)
    assert conflicts > 0, "draws that never meet are not independent"
