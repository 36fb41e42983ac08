"""Pre-vote, stickiness and the hint: who may start an election, and who joins it."""

from typing import Final

import pytest

from raftlog.base.ids import Index, ReplicaId, Term
from raftlog.base.limits import HINT_TICKS_MAX
from raftlog.base.membership import Membership
from raftlog.base.writes import HardState
from raftlog.raft.effects import Role
from raftlog.raft.events import Campaign, ConnectionLost
from raftlog.raft.rpcs import (
    Heartbeat,
    PreVoteReply,
    PreVoteRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from tests.raft.harness import N1, N2, N3, N4, R1, R2, R3, R4, R5, Node, World, replica_id

NOTHING: Final = (Term(0), Index(0))


def ask(term: int, *, transfer: bool = False) -> VoteRequest:
    """Return a vote request of a candidate with an empty log."""
    return VoteRequest(Term(term), *NOTHING, transfer=transfer)


def led_by_n1(world: World) -> Node:
    """Return a follower that has just heard n1, which leads term 1 with an empty log."""
    node = world[N2]
    node.receive(R1, Heartbeat(Term(1), Index(0), 1))
    world.drop()
    return node


# -- pre-vote


def test_a_pre_vote_promises_nothing() -> None:
    """It changes no term and no vote, and may be given to several candidates."""
    world = World(3)
    node = world[N1]
    before = (node.core.status(), node.core.vote, node.hard_state)
    for sender in (R2, R3, R2):
        node.receive(sender, PreVoteRequest(Term(1), *NOTHING))

    assert [reply.granted for reply in world.take(PreVoteReply)] == [True, True, True]
    assert (node.core.status(), node.core.vote, node.hard_state) == before


@pytest.mark.parametrize(("term", "granted"), [(1, False), (2, False), (3, True), (9, True)])
def test_a_pre_vote_is_for_a_term_after_the_voters(term: int, *, granted: bool) -> None:
    """A candidate that is behind learns the term from the refusal."""
    world = World(3, hard_states={N1: HardState(Term(2))})
    world[N1].receive(R2, PreVoteRequest(Term(term), *NOTHING))

    expected = PreVoteReply(Term(term if granted else 2), granted)
    assert world.take_one(PreVoteReply) == expected


def test_a_node_that_is_cut_off_raises_no_terms() -> None:
    """Pre-votes without answers lead to nothing, however long (Raft §9.6)."""
    world = World(3)
    leader = world.elect(N1)
    world.isolate(N3)
    world.run(20 * world.config.election_ticks_max)
    assert world[N3].core.term == Term(1)
    assert world[N3].core.role is Role.PRE_CANDIDATE
    world.heal()
    world.run(world.config.election_ticks_max)

    assert leader.is_leader
    assert leader.core.term == Term(1)
    assert world[N3].core.leader == N1


def test_a_candidate_that_is_behind_takes_the_higher_term_and_tries_again() -> None:
    """A node with an old term but a good log must not be locked out (etcd's smaller term case)."""
    world = World(3, hard_states={N2: HardState(Term(7)), N3: HardState(Term(7))})
    world[N1].step(Campaign())
    world.settle()
    assert world[N1].core.term == Term(7)

    world.elect(N1)
    assert world[N1].core.term == Term(8)


def test_a_lost_round_of_pre_votes_makes_a_follower() -> None:
    """A majority refuses: nobody would elect it now."""
    world = World(3)
    node = world[N1]
    node.step(Campaign())
    node.receive(R2, PreVoteReply(Term(0), granted=False))
    assert node.role == "pre-candidate"
    node.receive(R3, PreVoteReply(Term(0), granted=False))

    assert node.role == "follower"
    assert node.core.term == Term(0)


def test_pre_votes_for_another_term_do_not_count() -> None:
    """Answers may be late: they name the term that they are about."""
    world = World(5)
    node = world[N1]
    node.step(Campaign())
    for sender in (R2, R3, R4, R5):
        node.receive(sender, PreVoteReply(Term(2), granted=True))

    assert node.core.role is Role.PRE_CANDIDATE


def test_pre_votes_are_no_votes() -> None:
    """Three pre-votes make a candidate, never a leader."""
    world = World(5)
    node = world[N1]
    node.step(Campaign())
    for sender in (R2, R3, R4, R5):
        node.receive(sender, PreVoteReply(Term(1), granted=True))

    assert node.core.role is Role.CANDIDATE


def test_duelling_candidates_end_with_one_leader() -> None:
    """Two that split the votes draw new timeouts and try again."""
    for seed in range(10):
        world = World(4, seed=seed)
        world[N1].step(Campaign())
        world[N2].step(Campaign())
        world.run(world.config.election_ticks_max * 4, until=lambda: world.leader is not None)  # noqa: B023
        world.run(3 * world.config.heartbeat_ticks)

        assert len({node.core.leader for node in world.nodes.values()}) == 1


def test_the_longer_log_wins_whoever_asks_first() -> None:
    """A node that lacks committed entries is refused by the majority that has them."""
    world = World(3, logs={N1: [1], N2: [1, 1], N3: [1, 1]})
    world[N1].step(Campaign())
    world.settle()
    assert not world[N1].is_leader
    world.run(2 * world.config.election_ticks_max, until=lambda: world.leader is not None)

    assert world.leader is not None
    assert world.leader.id in {N2, N3}


# -- stickiness


def test_who_hears_a_leader_joins_no_election() -> None:
    """Check-quorum and pre-vote need it: else one flapping node unseats a working leader."""
    world = World(3)
    node = led_by_n1(world)
    node.receive(R3, PreVoteRequest(Term(2), *NOTHING))
    node.receive(R3, ask(5))

    assert world.take_one(PreVoteReply) == PreVoteReply(Term(1), granted=False)
    assert world.take(VoteReply) == []
    assert (node.core.term, node.core.leader) == (Term(1), N1)


@pytest.mark.parametrize(("silence", "granted"), [(49, False), (50, True)])
def test_stickiness_ends_after_the_shortest_election_timeout(
    silence: int, *, granted: bool
) -> None:
    """Then somebody's timer may have run out with reason."""
    world = World(3, seed=4)
    node = led_by_n1(world)
    assert node.core.next_deadline() > 50, "or it would campaign by itself: choose another seed"
    node.tick(silence)
    node.receive(R3, PreVoteRequest(Term(2), *NOTHING))

    assert world.take_one(PreVoteReply).granted is granted


def test_a_leader_ignores_candidates_that_it_did_not_ask_for() -> None:
    """It would notice by check-quorum if it did not lead any more."""
    world = World(3)
    leader = world.elect(N1)
    leader.receive(R3, PreVoteRequest(Term(2), Term(9), Index(9)))
    leader.receive(R3, VoteRequest(Term(2), Term(9), Index(9), transfer=False))

    assert leader.is_leader
    assert leader.core.term == Term(1)
    assert [reply.granted for reply in world.take(PreVoteReply)] == [False]


def test_a_handover_is_not_held_up_by_stickiness() -> None:
    """The leader itself asked for this election (Raft §3.10)."""
    world = World(3)
    node = led_by_n1(world)
    node.receive(R3, ask(2, transfer=True))

    assert world.take_one(VoteReply) == VoteReply(Term(2), granted=True)


def test_a_handover_does_not_change_who_may_win() -> None:
    """The log is compared as ever."""
    world = World(3, logs={N2: [1]})
    world[N2].receive(R3, ask(2, transfer=True))

    assert world.take_one(VoteReply) == VoteReply(Term(2), granted=False)


def test_only_the_leader_may_ask_for_an_election() -> None:
    """A late or foreign TimeoutNow starts nothing."""
    world = World(3)
    node = led_by_n1(world)
    node.receive(R3, TimeoutNow(Term(1)))

    assert node.core.role is Role.FOLLOWER
    assert world.take(VoteRequest) == []


def test_a_stuck_candidate_with_a_higher_term_is_freed() -> None:
    """Everybody refuses to follow an old term, so the leader must learn of the new one."""
    world = World(3)
    leader = world.elect(N1)
    stuck = world[N3]
    stuck.receive(R2, ask(5, transfer=True))
    world.drop()
    assert stuck.core.term == Term(5)
    took = world.run(
        300, until=lambda: world.leader is not None and world.leader.core.term > Term(5)
    )

    assert took < 300
    assert leader.core.term == stuck.core.term
    assert leader.core.leader == stuck.core.leader


# -- the hint (ruling 13)


def test_the_hint_starts_a_pre_vote_after_a_short_random_delay() -> None:
    """A killed leader costs a third of a second, not an election timeout."""
    nodes = [led_by_n1(World(3, seed=seed)) for seed in range(60)]
    for node in nodes:
        node.step(ConnectionLost(N1))
    delays = {node.core.next_deadline() for node in nodes}
    assert delays == set(range(1, HINT_TICKS_MAX + 1))

    node = nodes[0]
    node.tick(node.core.next_deadline())
    assert node.core.role is Role.PRE_CANDIDATE
    assert node.core.term == Term(1)


def test_the_hint_releases_stickiness() -> None:
    """Who lost its connection too lets another candidate ask."""
    world = World(3)
    node = led_by_n1(world)
    node.step(ConnectionLost(N1))
    node.receive(R3, PreVoteRequest(Term(2), *NOTHING))

    assert world.take_one(PreVoteReply).granted


def test_the_hint_unseats_nobody_whom_the_others_hear() -> None:
    """A leader that is unreachable from one node only goes on leading."""
    world = World(3)
    leader = world.elect(N1)
    world.cut |= {(N1, N3), (N3, N1)}
    world[N3].step(ConnectionLost(N1))
    world.run(world.config.election_ticks_min - 1)

    assert leader.is_leader
    assert [node.core.term for node in world.nodes.values()] == [1, 1, 1]


def test_a_sign_of_life_takes_the_hint_back() -> None:
    """The connection is back, or was never gone: as patient and as sticky as before."""
    world = World(3)
    node = led_by_n1(world)
    node.step(ConnectionLost(N1))
    node.receive(R1, Heartbeat(Term(1), Index(0), 2))
    world.drop()
    node.receive(R3, PreVoteRequest(Term(2), *NOTHING))

    assert not world.take_one(PreVoteReply).granted
    assert node.core.next_deadline() >= world.config.election_ticks_min


@pytest.mark.parametrize("seed", range(10))
def test_hints_that_repeat_do_not_put_the_pre_vote_off(seed: int) -> None:
    """A connection that flaps would otherwise delay the election, perhaps for ever."""
    world = World(3, seed=seed)
    node = led_by_n1(world)
    node.step(ConnectionLost(N1))
    for _ in range(node.core.next_deadline()):
        assert node.role == "follower"
        node.step(ConnectionLost(N1))
        node.tick()

    assert node.role == "pre-candidate"


def test_a_killed_leader_is_replaced_within_a_third_of_a_second() -> None:
    """The hint at work: both others notice, one is elected."""
    for seed in range(20):
        world = World(3, seed=seed)
        world.elect(N1)
        world.isolate(N1)
        for node in (N2, N3):
            world[node].step(ConnectionLost(N1))
        took = world.run(
            100,
            until=lambda: any(world[node].is_leader for node in (N2, N3)),  # noqa: B023
        )

        assert took <= 33


# -- identity and membership


WIPED: Final = replica_id(2, directory=99)


@pytest.mark.parametrize("stranger", [WIPED, R4])
def test_a_vote_from_a_replica_that_is_not_counted_does_not_count(stranger: ReplicaId) -> None:
    """Ruling 5: a wiped disk has forgotten its promises; its node id alone is no identity."""
    world = World(3)
    node = world[N1]
    node.step(Campaign())
    node.receive(stranger, PreVoteReply(Term(1), granted=True))
    assert node.role == "pre-candidate"
    node.receive(R3, PreVoteReply(Term(1), granted=True))
    assert node.role == "candidate"
    node.receive(stranger, VoteReply(Term(1), granted=True))
    assert node.role == "candidate"
    node.receive(R3, VoteReply(Term(1), granted=True))

    assert node.is_leader


@pytest.mark.parametrize("stranger", [WIPED, R4])
def test_a_refusal_from_a_replica_that_is_not_counted_does_not_count(
    stranger: ReplicaId,
) -> None:
    """It must not lose an election either."""
    world = World(3)
    node = world[N1]
    node.step(Campaign())
    for _ in range(2):
        node.receive(stranger, PreVoteReply(Term(0), granted=False))
        node.receive(R2, PreVoteReply(Term(0), granted=False))

    assert node.core.role is Role.PRE_CANDIDATE


def test_a_voter_answers_a_candidate_that_it_does_not_know() -> None:
    """Ruling 6: I may be the one who is behind.

    {n1, n2, n3} became {n2, n3, n4}; n3 still has the old list and n2 is dead.
    n4 needs the vote of n3, which n3 cannot win itself: its log is shorter.
    """
    old = Membership(voters=(R1, R2, R3))
    new = Membership(voters=(R2, R3, R4))
    behind = World(membership=old, logs={N3: [1]})
    ahead = World(membership=new, logs={N4: [1, 1]})
    candidate, voter = ahead[N4], behind[N3]
    candidate.step(Campaign())
    voter.receive(R4, ahead.take_one(PreVoteRequest, to=N3))
    candidate.receive(R3, behind.take_one(PreVoteReply))
    voter.receive(R4, ahead.take_one(VoteRequest, to=N3))
    candidate.receive(R3, behind.take_one(VoteReply))

    assert candidate.is_leader
    assert voter.hard_state == HardState(Term(2), R4)


def test_a_vote_is_for_a_node_with_its_directory() -> None:
    """Ruling 5: n2 comes back on another disk; it is another candidate, in the same term.

    n1 voted for the first one. With n1's vote the second one could lead the term that the
    first one leads, as soon as membership can change from the one to the other.
    """
    world = World(3)
    node = world[N1]
    node.receive(R2, ask(2))
    assert node.hard_state == HardState(Term(2), R2)
    node.receive(replica_id(2, 9), ask(2))
    node.receive(R2, ask(2))
    assert [reply.granted for reply in world.take(VoteReply)] == [True, False, True]


def test_a_follower_takes_entries_from_a_leader_that_it_does_not_know() -> None:
    """How else would it learn of the configuration in which that node is a member?"""
    world = World(3)
    world[N1].receive(R5, Heartbeat(Term(4), Index(0), 1))

    assert world[N1].core.leader == R5.node


def test_a_learner_votes_when_it_is_asked() -> None:
    """The candidate may know that it was promoted (etcd's learner must vote)."""
    world = World(3, learners=1)
    learner = world[N4]
    learner.receive(R1, ask(1))

    assert world.take_one(VoteReply) == VoteReply(Term(1), granted=True)


def test_a_learner_does_not_campaign_and_is_not_asked() -> None:
    """It only receives the log."""
    world = World(3, learners=1)
    world[N4].step(Campaign())
    world[N4].tick(10 * world.config.election_ticks_max)
    assert world.mail == []
    world[N1].step(Campaign())

    assert {sent.to for sent in world.mail} == {N2, N3}


# -- votes


def test_a_vote_outlives_a_crash() -> None:
    """Two candidates of one term, and a voter that restarts between: one vote."""
    world = World(3)
    world[N3].receive(R1, ask(1))
    assert world.take_one(VoteReply, to=N1).granted
    world[N3].crash()
    world[N3].receive(R2, ask(1))
    world[N3].receive(R1, ask(1))

    assert not world.take_one(VoteReply, to=N2).granted
    assert world.take_one(VoteReply, to=N1).granted


def test_who_follows_a_leader_votes_for_nobody_in_its_term() -> None:
    """The term is decided; a late candidate of the same term learns nothing else."""
    world = World(3)
    node = led_by_n1(world)
    node.receive(R3, ask(1))

    assert world.take_one(VoteReply) == VoteReply(Term(1), granted=False)


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.PRE_CANDIDATE, Role.CANDIDATE])
def test_a_free_vote_is_given_from_any_state(role: Role) -> None:
    """A higher term is a new election, whatever one was busy with."""
    world = World(3)
    node = world[N1]
    if role is not Role.FOLLOWER:
        node.step(Campaign())
    if role is Role.CANDIDATE:
        node.receive(R3, PreVoteReply(Term(1), granted=True))
    assert node.core.role is role
    node.receive(R2, ask(7))

    assert node.hard_state == HardState(Term(7), R2)
    assert node.core.role is Role.FOLLOWER
