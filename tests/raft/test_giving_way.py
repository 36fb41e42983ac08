"""Two who stand at once: one of them lets the other one go first (decision 22)."""

from itertools import product
from typing import Final

import pytest

from raftlog.base.ids import Index, NodeId, Term
from raftlog.raft.effects import Role
from raftlog.raft.events import Campaign, ConnectionLost, Heard
from raftlog.raft.rpcs import PreVoteReply, PreVoteRequest, VoteReply, VoteRequest
from tests.raft.harness import N1, N2, N3, R1, R2, R3, Node, World

NOTHING: Final = (Term(0), Index(0))


def survivors() -> tuple[World, Node, Node]:
    """Return two followers whose leader, n1, was killed; both know it."""
    world = World(3)
    world.elect(N1)
    world.isolate(N1)
    for node in (world[N2], world[N3]):
        node.step(ConnectionLost(N1))
    return world, world[N2], world[N3]


def test_who_stands_at_the_same_time_lets_the_other_one_go_first() -> None:
    """Both would be candidates of one term, vote for themselves, and refuse each other."""
    world, lower, higher = survivors()
    lower.step(Campaign())
    higher.step(Campaign())
    world.settle()
    assert higher.is_leader
    assert higher.core.term == 2, "no term was lost to a split vote"
    assert lower.core.role is Role.FOLLOWER


@pytest.mark.parametrize(("delay", "first"), [*product(range(1, 5), (N2, N3))])
def test_messages_that_take_longer_than_patience_differs_split_no_votes(
    delay: int, first: NodeId
) -> None:
    """A loaded machine: who stands hears of the other one only ticks later."""
    world, lower, higher = survivors()
    early, late = (lower, higher) if first == N2 else (higher, lower)
    early.step(Campaign())
    for _ in range(delay):
        early.tick()
        late.tick()
    if late.core.role is Role.FOLLOWER:
        late.step(Campaign())
    world.settle()
    assert early.is_leader or late.is_leader
    assert max(lower.core.term, higher.core.term) == 2


def test_whose_log_is_better_goes_first() -> None:
    """Nobody else could win: its voters refuse a log that ends before theirs."""
    world = World(3, logs={N1: [1, 1], N2: [1, 1], N3: [1]})
    node = world[N2]
    node.step(Campaign())
    world.drop()
    node.receive(R3, PreVoteRequest(Term(2), Term(1), Index(1)))
    assert node.core.role is Role.PRE_CANDIDATE
    node.receive(R1, PreVoteRequest(Term(2), Term(1), Index(3)))
    assert node.core.role is Role.FOLLOWER


def test_who_granted_a_pre_vote_waits_for_the_candidate() -> None:
    """Its own timer, a moment later, would split the vote that it has just made possible."""
    world, lower, higher = survivors()
    before = higher.core.next_deadline()
    higher.receive(R2, PreVoteRequest(Term(2), lower.core.log.last_id.term, Index(1)))
    quarter = higher.core.config.election_ticks_min // 4
    assert before < quarter <= higher.core.next_deadline()
    world.drop()


def test_a_candidate_that_can_never_win_holds_nobody_up() -> None:
    """It is heard, and hears nobody: every request of its is granted, and it never stands."""
    world = World(3)
    node = world[N1]
    config = node.core.config
    for _ in range(6 * config.election_ticks_max):
        node.receive(R3, PreVoteRequest(Term(node.core.term + 1), *NOTHING))
        node.tick()
        if world.select(PreVoteRequest, to=N2):
            break
        world.drop()
    assert world.select(PreVoteRequest, to=N2), "it never stood itself"
    rounds = 0
    for _ in range(20 * config.election_ticks_max):
        node.receive(R3, PreVoteRequest(Term(node.core.term + 1), *NOTHING))
        if node.core.role is Role.PRE_CANDIDATE:
            rounds += 1
            if rounds == 3:
                break
        world.drop()
        node.tick()
    assert rounds == 3, "it stood again, and was not always talked out of it"


def test_after_a_split_vote_one_of_the_two_waits_longer() -> None:
    """Else they may split the next one, too: a message takes as long as their patience differs."""
    world, lower, higher = survivors()
    for node, other in ((lower, R3), (higher, R2)):
        node.step(Campaign())
        node.receive(other, PreVoteReply(Term(2), granted=True))
    assert (lower.core.role, higher.core.role) == (Role.CANDIDATE, Role.CANDIDATE)
    world.settle()
    longest = lower.core.config.election_ticks_max // 4
    assert higher.core.next_deadline() <= longest < lower.core.next_deadline()
    world.run(2 * longest, until=lambda: higher.is_leader)
    assert higher.is_leader
    assert higher.core.term == 3


def test_who_waits_longer_is_a_candidate_still() -> None:
    """With five voters it may have the majority already: the votes are on their way."""
    world = World(5)
    node = world[N1]
    node.step(Campaign())
    for voter in (R2, R3):
        node.receive(voter, PreVoteReply(Term(1), granted=True))
    assert node.core.role is Role.CANDIDATE
    node.receive(R3, VoteRequest(Term(1), *NOTHING, transfer=False))
    for voter in (R2, world[N3].core.replica):
        node.receive(voter, VoteReply(Term(1), granted=True))
    assert node.is_leader


def test_patience_with_one_leader_stays_below_the_longest_election_timeout() -> None:
    """n1 is slow now and then; n3, cut off from it, asks for a pre-vote each time."""
    world = World(3)
    world.elect(N1)
    world.settle()
    node = world[N2]
    longest = 0
    for _ in range(12):
        node.tick(node.core.next_deadline() - 1)
        last = node.core.log.last_id
        node.receive(R3, PreVoteRequest(Term(node.core.term + 1), last.term, last.index))
        node.step(Heard(R1))
        world.drop()
        longest = max(longest, node.core.next_deadline())
    assert longest <= node.core.config.election_ticks_max


def test_rounds_of_an_election_that_was_won_count_no_more() -> None:
    """A drained leader that is cut off leaves the next one all its rounds again."""
    world = World(3)
    world[N1].core._patience.rounds = 3
    world.elect(N1)
    assert world[N1].core._patience.rounds == 0
