"""Leadership is handed over without an outage, and kept when that fails (Raft §3.10)."""

from raftlog.base.ids import Index, NodeId, Term
from raftlog.raft.effects import ProposalRefused, TransferEnded
from raftlog.raft.events import Transfer
from raftlog.raft.rpcs import AppendAccepted, TimeoutNow, VoteRequest
from tests.raft.harness import N1, N2, N3, N4, R2, R3, World, refusal


def test_leadership_goes_to_a_follower_that_is_up_to_date() -> None:
    """At once, without an election timeout: nobody leads for one round trip only."""
    world = World(3)
    old = world.elect(N1)
    old.step(Transfer(N2))
    world.settle()

    assert world[N2].is_leader
    assert world[N2].core.term == Term(2)
    assert old.core.leader == world[N3].core.leader == N2
    assert old.transfers == [TransferEnded.DONE]


def test_leadership_goes_to_the_best_follower_if_none_is_named() -> None:
    """The one with the most of the log that is alive."""
    world = World(3)
    old = world.elect(N1)
    world.isolate(N2)
    old.propose(b"2")
    world.settle()
    world.heal()
    old.step(Transfer())
    world.settle()

    assert world[N3].is_leader


def test_right_after_a_check_of_the_quorum_there_is_still_a_best_follower() -> None:
    """The check forgets who answered; a stopping leader must not be refused for that."""
    world = World(3)
    old = world.elect(N1)
    world.run(world.config.election_ticks_min - 1)
    old.tick()
    old.step(Transfer())
    world.settle()

    assert not old.is_leader
    assert old.transfers == [TransferEnded.DONE]


def test_a_follower_that_is_behind_catches_up_first() -> None:
    """It could not win the votes of the others."""
    world = World(3)
    old = world.elect(N1)
    world.isolate(N3)
    old.propose(b"2", b"3")
    world.settle()
    world.heal()
    old.step(Transfer(N3))
    assert world.select(TimeoutNow) == []
    world.run(4 * world.config.heartbeat_ticks)

    assert world[N3].is_leader
    assert world[N3].disk[:3] == old.disk[:3]


def test_proposals_are_refused_while_leadership_is_handed_over() -> None:
    """Else the target would never have caught up (and hashicorp's GH-581)."""
    world = World(3)
    old = world.elect(N1)
    world.isolate(N3)
    old.propose(b"2")
    world.settle()
    old.step(Transfer(N3))
    effects = old.propose(b"refused")

    assert effects.refused is ProposalRefused.TRANSFERRING
    assert old.terms == [1, 1]


def test_a_handover_that_fails_leaves_the_old_leader_at_work() -> None:
    """After an election timeout it takes proposals again."""
    world = World(3)
    old = world.elect(N1)
    world.isolate(N3)
    old.step(Transfer(N3))
    world.run(world.config.election_ticks_max)

    assert old.transfers == [TransferEnded.TIMED_OUT]
    assert old.is_leader
    assert old.core.term == Term(1)
    assert refusal(old.propose(b"2")) is None
    world.settle()
    assert old.core.commit == Index(2)


def test_no_leader_hands_over_to_itself() -> None:
    """There is nothing to do, and it says so."""
    world = World(3)
    leader = world.elect(N1)
    leader.step(Transfer(N1))

    assert leader.transfers == [TransferEnded.REFUSED]
    assert refusal(leader.propose(b"2")) is None


def test_no_leader_hands_over_to_a_stranger_or_a_learner() -> None:
    """Neither may lead."""
    world = World(3, learners=1)
    leader = world.elect(N1)
    for target in (NodeId("nobody"), N4):
        leader.step(Transfer(target))

    assert leader.transfers == [TransferEnded.REFUSED] * 2
    assert leader.is_leader
    assert refusal(leader.propose(b"2")) is None


def test_a_follower_cannot_hand_over() -> None:
    """It has nothing to give."""
    world = World(3)
    world.elect(N1)
    world[N2].step(Transfer(N3))

    assert world[N2].transfers == [TransferEnded.REFUSED]


def test_a_second_handover_waits_for_the_end_of_the_first() -> None:
    """Two targets could both be told to start."""
    world = World(3)
    leader = world.elect(N1)
    world.isolate(N3)
    leader.step(Transfer(N3))
    leader.step(Transfer(N2))
    world.settle()
    assert leader.transfers == [TransferEnded.REFUSED]
    world.run(world.config.election_ticks_max)
    assert leader.transfers == [TransferEnded.REFUSED, TransferEnded.TIMED_OUT]
    leader.step(Transfer(N2))
    world.settle()

    assert world[N2].is_leader


def test_the_only_voter_keeps_leadership() -> None:
    """There is nobody else."""
    world = World(1)
    world[N1].tick()
    world[N1].step(Transfer())

    assert world[N1].transfers == [TransferEnded.REFUSED]
    assert world[N1].is_leader


def test_the_election_of_a_handover_says_so() -> None:
    """Voters that hear the old leader answer it, and skip the pre-vote round."""
    world = World(3)
    old = world.elect(N1)
    old.step(Transfer(N2))
    world.deliver(TimeoutNow)

    requests = world.select(VoteRequest)
    assert {sent.to for sent in requests} == {N1, N3}
    assert all(
        sent.message == VoteRequest(Term(2), Term(1), Index(1), transfer=True) for sent in requests
    )


def test_a_request_to_start_that_is_late_is_harmless() -> None:
    """The handover timed out and the leader went on: the election is like any other.

    n2 was told to start, slept, and starts now; n1 has committed more with n3.
    """
    world = World(3)
    old = world.elect(N1)
    old.step(Transfer(N2))
    late = world.take_one(TimeoutNow)
    world.isolate(N2)
    world.run(world.config.election_ticks_max)
    assert old.transfers == [TransferEnded.TIMED_OUT]
    old.propose(b"committed meanwhile")
    world.settle()
    assert old.core.commit == Index(2)
    world.heal()
    world.run(world.config.heartbeat_ticks)
    assert world[N2].core.leader == N1
    world[N2].receive(old.replica, late)
    world.run(300)

    assert world.leader is not None
    assert [bytes(entry.body) for entry in world.leader.applied][1] == b"committed meanwhile"


def test_repeated_acknowledgements_repeat_the_request_to_start() -> None:
    """The request may have been lost; the next acknowledgement of the whole log repeats it."""
    world = World(3)
    old = world.elect(N1)
    world.isolate(N2)
    old.propose(b"2")
    world.settle()
    old.step(Transfer(N2))
    old.receive(R2, AppendAccepted(Term(1), Index(2)))
    world.drop()
    old.receive(R2, AppendAccepted(Term(1), Index(2)))
    old.receive(R3, AppendAccepted(Term(1), Index(2)))

    assert [sent.to for sent in world.select(TimeoutNow)] == [N2]
