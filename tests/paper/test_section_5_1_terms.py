"""Raft paper §5.1: terms are the logical clock, and a stale one is refused."""

import pytest

from raftlog.base.ids import Index, Term
from raftlog.base.writes import HardState
from raftlog.raft.effects import Role
from raftlog.raft.events import Campaign
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRequest,
    Heartbeat,
    HeartbeatReply,
    Message,
    VoteReply,
    VoteRequest,
)
from tests.raft.harness import N1, N2, R2, Node, World

ZERO_TERM, ZERO = Term(0), Index(0)


def in_role(role: Role) -> Node:
    """Return a node of three in ``role`` and term 1; nothing is on its way."""
    world = World(3, hard_states={N1: HardState(Term(1 if role is Role.FOLLOWER else 0))})
    node = world[N1]
    if role is Role.LEADER:
        world.elect(N1)
    elif role is Role.CANDIDATE:
        node.step(Campaign())
        world.deliver(to=N2)
        world.deliver(to=N1)
    world.drop()
    assert (node.core.role, node.core.term) == (role, Term(1))
    return node


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
@pytest.mark.parametrize(
    "message",
    [
        AppendRequest(Term(2), ZERO_TERM, ZERO, ZERO, ()),
        Heartbeat(Term(2), ZERO, 1),
        HeartbeatReply(Term(2), 0),
        AppendAccepted(Term(2), ZERO),
    ],
    ids=lambda message: type(message).__name__,
)
def test_follower_candidate_and_leader_adopt_a_higher_term(role: Role, message: Message) -> None:
    """§5.1: if one server's current term is smaller, it updates it to the larger value."""
    node = in_role(role)

    node.receive(R2, message)

    assert node.core.term == Term(2)
    assert node.core.role is Role.FOLLOWER
    assert node.core.vote is None
    assert node.hard_state == HardState(Term(2)), "the term must be durable before it is used"


def test_candidate_adopts_the_term_of_a_rival_and_votes_afresh() -> None:
    """§5.1: a candidate whose term is out of date reverts to follower."""
    node = in_role(Role.CANDIDATE)

    node.receive(R2, VoteRequest(Term(2), ZERO_TERM, ZERO, transfer=False))

    assert (node.core.role, node.core.vote) == (Role.FOLLOWER, R2)


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
@pytest.mark.parametrize(
    "message",
    [
        AppendRequest(ZERO_TERM, ZERO_TERM, ZERO, Index(1), ()),
        Heartbeat(ZERO_TERM, Index(1), 1),
        AppendAccepted(ZERO_TERM, Index(1)),
        VoteReply(ZERO_TERM, granted=True),
        HeartbeatReply(ZERO_TERM, 9),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_stale_term_is_rejected(role: Role, message: Message) -> None:
    """§5.1: if a server receives a request with a stale term, it rejects the request."""
    node = in_role(role)
    before = (node.core.status(), node.core.vote, list(node.view))

    node.receive(R2, message)

    assert (node.core.status(), node.core.vote, list(node.view)) == before
