"""ReadIndex: linearizable reads without a log write (Raft §6.4, ruling 23)."""

import pytest

from raftlog.base.ids import Index, Term
from raftlog.base.writes import HardState
from raftlog.raft.effects import ReadReady
from raftlog.raft.events import Campaign, ConnectionLost, Read
from raftlog.raft.reads import HEARTBEATS_PATIENT
from raftlog.raft.rpcs import (
    AppendAccepted,
    Heartbeat,
    HeartbeatReply,
    PreVoteReply,
    ReadIndexReply,
    ReadIndexRequest,
    VoteReply,
)
from tests.raft.harness import N1, N2, N3, R1, R2, R3, Node, World, replica_id


def test_a_read_waits_for_a_majority_that_still_follows() -> None:
    """Another leader may have committed since; only an answer to a later round rules that out."""
    world = World(3)
    leader = world.elect(N1)
    leader.step(Read(7))
    assert leader.ready == []
    assert world.deliver(Heartbeat, to=N2) == 1
    assert leader.ready == []
    world.deliver(HeartbeatReply, sender=N2)

    assert leader.ready == [ReadReady(7, Index(1))]


def test_an_answer_to_an_earlier_round_confirms_nothing() -> None:
    """It proves that the leader led before the read came, which is no news.

    n2 answers round 2 and then follows n3, which commits; the answer arrives
    after the read did.
    """
    world = World(3)
    leader = world.elect(N1)
    leader.tick(world.config.heartbeat_ticks)
    world.deliver(Heartbeat, to=N2)
    leader.step(Read(7))
    world.deliver(HeartbeatReply, sender=N2)
    assert leader.ready == []
    world.settle()

    assert leader.ready == [ReadReady(7, Index(1))]


def new_leader() -> tuple[World, Node]:
    """Return a leader that holds its predecessor's entries and has committed nothing."""
    world = World(3, logs={node: [1, 1] for node in (N1, N2, N3)})
    leader = world[N1]
    leader.step(Campaign())
    leader.receive(R2, PreVoteReply(Term(2), granted=True))
    leader.receive(R2, VoteReply(Term(2), granted=True))
    assert leader.is_leader
    world.drop()
    return world, leader


def test_a_read_before_a_commit_of_the_own_term_waits() -> None:
    """A new leader does not know yet how far its predecessor had committed (§8)."""
    world, leader = new_leader()
    leader.step(Read(7))
    for round_number in (1, 2, 3):
        leader.tick(world.config.heartbeat_ticks)
        for sender in (R2, R3):
            leader.receive(sender, HeartbeatReply(Term(2), round_number))
        assert leader.ready == []
    leader.receive(R2, AppendAccepted(Term(2), Index(2)))
    world.settle()
    assert leader.ready == [ReadReady(7, Index(3))]
    assert leader.core.commit == Index(3)


def test_a_followers_read_waits_for_the_own_term_too() -> None:
    """The same through the leader's other door."""
    world, leader = new_leader()
    leader.receive(R3, ReadIndexRequest(Term(2), 7))
    leader.receive(R2, HeartbeatReply(Term(2), 9))
    assert world.select(ReadIndexReply) == []
    leader.receive(R2, AppendAccepted(Term(2), Index(3)))
    leader.receive(R2, HeartbeatReply(Term(2), 9))

    assert world.take_one(ReadIndexReply, to=N3) == ReadIndexReply(Term(2), 7, Index(3))


def test_a_leader_that_is_cut_off_serves_no_read() -> None:
    """It cannot know that it was replaced; the read fails when it steps down."""
    world = World(3)
    old = world.elect(N1)
    world.isolate(N1)
    old.step(Read(7))
    for node in (N2, N3):
        world[node].step(ConnectionLost(N1))
    world.run(60)
    (new,) = [world[node] for node in (N2, N3) if world[node].is_leader]
    new.propose(b"news")
    world.settle()
    assert old.ready == []
    world.heal()
    world.run(3 * world.config.heartbeat_ticks)

    assert old.ready == []
    assert old.failed_reads == [7]


def test_a_follower_asks_its_leader() -> None:
    """It serves the read itself, once it has applied the index that it is told."""
    world = World(3)
    leader = world.elect(N1)
    leader.propose(b"2")
    world.settle()
    world[N2].step(Read(7))
    world.settle()

    assert world[N2].ready == [ReadReady(7, Index(2))]
    assert leader.ready == []


def test_a_follower_asks_again_when_no_answer_comes() -> None:
    """A connection that is being made takes nothing: the next question finds it."""
    world = World(3)
    world.elect(N1)
    follower = world[N2]
    follower.step(Read(7))
    assert world.take_one(ReadIndexRequest) == ReadIndexRequest(Term(1), 7)
    for asked in (1, 2):
        for round_number in range(HEARTBEATS_PATIENT):
            assert world.select(ReadIndexRequest) == []
            follower.receive(R1, Heartbeat(Term(1), Index(1), 10 * asked + round_number))
        assert world.take_one(ReadIndexRequest) == ReadIndexRequest(Term(1), 7)
    follower.receive(R1, ReadIndexReply(Term(1), 7, Index(1)))
    assert follower.ready == [ReadReady(7, Index(1))]
    for round_number in range(HEARTBEATS_PATIENT):
        follower.receive(R1, Heartbeat(Term(1), Index(1), 30 + round_number))
    assert world.select(ReadIndexRequest) == []


def test_a_follower_without_a_leader_refuses_a_read() -> None:
    """At once: the client asks elsewhere or later."""
    world = World(3)
    world[N1].step(Read(7))

    assert world[N1].failed_reads == [7]


@pytest.mark.parametrize("cause", ["another leader", "no leader", "its own pre-vote"])
def test_a_followers_read_fails_when_its_leader_changes(cause: str) -> None:
    """The old one will not answer, or its answer is too late to be believed."""
    world = World(3)
    world.elect(N1)
    node = world[N2]
    node.step(Read(7))
    late = ReadIndexReply(Term(1), 7, Index(1))
    if cause == "another leader":
        node.receive(R3, Heartbeat(Term(2), Index(0), 1))
    elif cause == "no leader":
        node.receive(R3, HeartbeatReply(Term(2), 0))
    else:
        node.step(Campaign())
    node.receive(R1, late)

    assert node.failed_reads == [7]
    assert node.ready == []


def test_one_round_confirms_every_read_that_came_before_it() -> None:
    """Reads cost a message for each batch, not for each read."""
    world = World(3)
    leader = world.elect(N1)
    before = len(world.history)
    leader.step(Read(0))
    for token in range(1, 100):
        leader.step(Read(token))
    world.settle()

    assert {ready.token for ready in leader.ready} == set(range(100))
    rounds = [sent for sent in world.history[before:] if isinstance(sent.message, Heartbeat)]
    assert len(rounds) == 4, "one round for the first read, one for all the others"


def test_a_lost_round_is_made_good_by_the_next_heartbeat() -> None:
    """Its number is higher, so its answers confirm the earlier reads too."""
    world = World(3)
    leader = world.elect(N1)
    leader.step(Read(7))
    world.drop()
    world.run(world.config.heartbeat_ticks)

    assert leader.ready == [ReadReady(7, Index(1))]


def test_an_answer_to_a_read_that_nobody_waits_for_is_ignored() -> None:
    """Messages are repeated; a read is answered once."""
    world = World(3)
    world.elect(N1)
    node = world[N2]
    node.step(Read(7))
    world.settle()
    for token in (7, 8):
        node.receive(R1, ReadIndexReply(Term(1), token, Index(1)))

    assert node.ready == [ReadReady(7, Index(1))]


def test_an_answer_from_anybody_but_the_leader_is_ignored() -> None:
    """Only the leader's word is backed by a majority."""
    world = World(3)
    world.elect(N1)
    node = world[N2]
    node.step(Read(7))
    node.receive(R3, ReadIndexReply(Term(1), 7, Index(1)))

    assert node.ready == []


def test_learners_and_strangers_confirm_no_read() -> None:
    """A majority of voters, each the very replica that is counted (ruling 5)."""
    world = World(3, learners=1)
    leader = world.elect(N1)
    leader.step(Read(7))
    for sender in (world.membership.learners[0], replica_id(2, directory=99), replica_id(6)):
        leader.receive(sender, HeartbeatReply(Term(1), 99))
    assert leader.ready == []
    leader.receive(R2, HeartbeatReply(Term(1), 99))

    assert leader.ready == [ReadReady(7, Index(1))]


def test_a_learner_may_read_through_the_leader() -> None:
    """It receives the log, so it can serve what is applied."""
    world = World(3, learners=1)
    world.elect(N1)
    learner = world.nodes[world.membership.learners[0].node]
    world.run(world.config.heartbeat_ticks)
    learner.step(Read(7))
    world.settle()

    assert learner.ready == [ReadReady(7, Index(1))]


def test_the_only_voter_reads_at_once() -> None:
    """Nobody else could lead."""
    world = World(1, hard_states={N1: HardState(Term(3))})
    world[N1].tick()
    world[N1].step(Read(7))

    assert world[N1].ready == [ReadReady(7, Index(1))]


def test_a_read_after_a_commit_sees_it() -> None:
    """The index is taken when the round begins, never before the read came."""
    world = World(3)
    leader = world.elect(N1)
    leader.step(Read(1))
    leader.propose(b"2")
    world.settle()
    leader.step(Read(2))
    world.settle()

    assert {ready.token: ready.index for ready in leader.ready} == {1: 1, 2: 2}
