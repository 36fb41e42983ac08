"""A replica with damaged entries votes and acks, but does not lead (ruling 20)."""

from raftlog.base.ids import Index
from raftlog.raft.effects import Role
from raftlog.raft.events import Campaign, FaultyEntries
from raftlog.raft.rpcs import PreVoteRequest, TimeoutNow, VoteRequest
from tests.raft.harness import N1, N2, N3, R2, World, refusal


def test_it_does_not_campaign() -> None:
    """Its log may not be whole, and the followers would need it whole."""
    world = World(3)
    node = world[N1]
    node.step(FaultyEntries(1))
    node.step(Campaign())
    node.tick(10 * world.config.election_ticks_max)

    assert node.core.role is Role.FOLLOWER
    assert world.take(PreVoteRequest) == []


def test_it_does_not_campaign_when_it_is_asked_to() -> None:
    """Also a leader that hands over cannot make it lead."""
    world = World(3)
    leader = world.elect(N2)
    world[N1].step(FaultyEntries(1))
    world[N1].receive(R2, TimeoutNow(leader.core.term))

    assert world[N1].core.role is Role.FOLLOWER
    assert world[N1].core.leader == N2
    assert world.take(VoteRequest) == []


def test_it_leads_again_once_it_is_repaired() -> None:
    """The damage was the only reason."""
    world = World(3)
    world[N1].step(FaultyEntries(2))
    world[N1].step(FaultyEntries(0))

    world.elect(N1)


def test_it_votes_and_acknowledges() -> None:
    """A damaged entry counts as present: corrupt is not absent (R3)."""
    world = World(3)
    world[N1].step(FaultyEntries(1))
    world.isolate(N3)
    leader = world.elect(N2)
    leader.propose(b"entry")
    world.settle()

    assert leader.core.commit == Index(2)


def test_it_gives_up_a_leader_that_is_silent() -> None:
    """Its timer starts no election, but must not renew its faith in a dead leader either.

    n2 leads and dies; n1 is faulty; n3 needs n1's pre-vote. A replica that
    reset its timer and kept its leader would stay sticky for ever.
    """
    world = World(3)
    world.elect(N2)
    world[N1].step(FaultyEntries(1))
    world.isolate(N2)
    for _ in range(4):
        world[N1].tick(world.config.election_ticks_max)
    world[N3].tick(world.config.election_ticks_max)
    world.settle()

    assert world[N3].is_leader


def test_a_learner_gives_up_a_leader_that_is_silent() -> None:
    """It may be asked for a vote by a candidate that knows a newer configuration (ruling 6)."""
    world = World(3, learners=1)
    world.elect(N2)
    learner = world.nodes[world.membership.learners[0].node]
    learner.tick(world.config.election_ticks_max)

    assert learner.core.leader is None
    assert learner.core.role is Role.FOLLOWER


def test_a_faulty_leader_hands_over_when_it_is_not_repaired_in_time() -> None:
    """After an election timeout: it fetches the entry first (ruling 20)."""
    world = World(3)
    leader = world.elect(N1)
    leader.step(FaultyEntries(1))
    world.run(world.config.election_ticks_min - 1)
    assert leader.is_leader
    world.run(5)

    assert world.leader is not None
    assert world.leader.id in {N2, N3}


def test_a_faulty_leader_that_is_repaired_in_time_goes_on() -> None:
    """Repair is the rule, handing over the exception."""
    world = World(3)
    leader = world.elect(N1)
    leader.step(FaultyEntries(1))
    world.run(world.config.election_ticks_min - 1)
    leader.step(FaultyEntries(0))
    world.run(3 * world.config.election_ticks_max)

    assert leader.is_leader
    assert refusal(leader.propose(b"entry")) is None
