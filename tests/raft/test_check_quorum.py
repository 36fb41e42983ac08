"""A leader that a majority does not answer gives up, within two election timeouts."""

import pytest

from raftlog.base.ids import Index, Term
from raftlog.raft.effects import ProposalRefused, Role
from raftlog.raft.rpcs import AppendAccepted, AppendRejected, HeartbeatReply
from tests.raft.harness import N1, N2, N3, N4, N5, R2, World, replica_id


def test_a_leader_that_is_cut_off_steps_down() -> None:
    """Its clients must not wait for commits that cannot come."""
    world = World(3)
    leader = world.elect(N1)
    world.isolate(N1)
    took = world.run(300, until=lambda: not leader.is_leader)

    assert took <= 2 * world.config.election_ticks_min
    assert (leader.core.role, leader.core.term, leader.core.leader) == (
        Role.FOLLOWER,
        Term(1),
        None,
    )
    assert leader.propose(b"x").refused is ProposalRefused.NOT_LEADER


def test_a_leader_that_a_majority_answers_goes_on() -> None:
    """A minority may be silent for ever."""
    world = World(5)
    leader = world.elect(N1)
    world.isolate(N4, N5)
    world.run(10 * world.config.election_ticks_max)

    assert leader.is_leader
    assert leader.core.term == Term(1)


@pytest.mark.parametrize(
    "answer",
    [
        HeartbeatReply(Term(1), 1),
        AppendAccepted(Term(1), Index(1)),
        AppendRejected(Term(1), Index(1), Term(0), Index(0)),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_any_answer_counts_as_a_sign_of_life(
    answer: HeartbeatReply | AppendAccepted | AppendRejected,
) -> None:
    """A follower that rejects follows all the same."""
    world = World(3)
    leader = world.elect(N1)
    for _ in range(10):
        leader.receive(R2, answer)
        leader.tick(world.config.election_ticks_min)

    assert leader.is_leader


def test_an_answer_from_another_directory_does_not_count() -> None:
    """A wiped node under a known name is not the replica that was promised to (ruling 5)."""
    world = World(3)
    leader = world.elect(N1)
    for _ in range(2):
        leader.receive(replica_id(2, directory=99), HeartbeatReply(Term(1), 1))
        leader.tick(world.config.election_ticks_min)

    assert not leader.is_leader


def test_a_learner_does_not_keep_a_leader_in_office() -> None:
    """It is no voter."""
    world = World(3, learners=1)
    leader = world.elect(N1)
    world.isolate(N1, N4)
    world.run(2 * world.config.election_ticks_min)

    assert not leader.is_leader


def test_the_majority_elects_another_while_the_old_leader_is_cut_off() -> None:
    """And the old one follows when it is back; what it had not committed is replaced."""
    world = World(3)
    old = world.elect(N1)
    world.isolate(N1)
    old.propose(b"never committed")
    world.run(400)
    new = next(node for node in (world[N2], world[N3]) if node.is_leader)
    new.propose(b"committed")
    world.run(3 * world.config.heartbeat_ticks)
    world.heal()
    world.run(4 * world.config.heartbeat_ticks)

    assert old.core.leader == new.id
    assert old.disk == new.disk
    assert [bytes(entry.body) for entry in old.applied] == [b"", b"", b"committed"]


def test_a_leader_of_one_needs_nobody() -> None:
    """The majority of one is itself."""
    world = World(1)
    world.run(500)

    assert world[N1].is_leader
    assert world[N1].core.term == Term(1)


def test_a_one_way_partition_ends_with_a_leader_that_hears_its_majority() -> None:
    """Heartbeats arrive and answers do not: without check-quorum nobody would ever act."""
    world = World(3)
    old = world.elect(N1)
    world.cut |= {(N2, N1), (N3, N1)}
    took = world.run(400, until=lambda: any(node.is_leader for node in (world[N2], world[N3])))

    assert took < 400
    assert not old.is_leader
