"""Time is ticks, and nothing happens between deadlines (ruling 36)."""

import pytest

from raftlog.base.ids import Index, Term
from raftlog.raft.effects import Effects, Role, TransferEnded
from raftlog.raft.events import Campaign, ConnectionLost, Heard, Read, Transfer
from raftlog.raft.rpcs import Heartbeat, HeartbeatReply, PreVoteRequest
from tests.raft.harness import N1, N2, N3, R2, Node, World


def follower(world: World) -> Node:
    """Return a node that follows n2 and has just heard it."""
    node = world[N1]
    node.receive(R2, Heartbeat(Term(1), Index(0), 1))
    world.drop()
    return node


def leader_in_the_middle_of_everything(world: World) -> Node:
    """Return a leader whose timers do not run in step: reads and a transfer began between."""
    node = world.elect(N1)
    world.isolate(N3)
    node.tick(3)
    node.step(Read(1))
    world.settle()
    node.propose(b"entry")
    node.tick(1)
    node.step(Transfer(N3))
    node.tick(1)
    world.drop()
    return node


def candidate(world: World) -> Node:
    """Return a node that asks for votes in vain."""
    node = world[N1]
    node.step(Campaign())
    world.drop()
    return node


@pytest.mark.parametrize("make", [follower, leader_in_the_middle_of_everything, candidate])
@pytest.mark.parametrize("seed", range(5))
def test_nothing_happens_before_the_next_deadline(make: object, seed: int) -> None:
    """A shell sleeps until then: what is due earlier would come late."""
    assert callable(make)
    node = make(World(3, seed=seed))
    elapsed = 0
    while elapsed < 400:
        deadline = node.core.next_deadline()
        assert deadline > 0
        for _ in range(deadline - 1):
            assert node.tick() == Effects()
        node.tick()
        elapsed += deadline


def test_the_end_of_a_handover_is_a_deadline() -> None:
    """A leader that refuses proposals meanwhile must not wait for its next heartbeat to resume."""
    world = World(3)
    leader = world.elect(N1)
    world.isolate(N3)
    leader.tick(3)
    leader.step(Transfer(N3))
    elapsed = 0
    while not leader.transfers:
        deadline = leader.core.next_deadline()
        assert all(leader.tick() == Effects() for _ in range(deadline - 1))
        leader.tick()
        world.settle()
        elapsed += deadline

    assert leader.transfers == [TransferEnded.TIMED_OUT]
    assert elapsed == world.config.election_ticks_max


@pytest.mark.parametrize("make", [follower, leader_in_the_middle_of_everything, candidate])
def test_one_long_tick_is_as_many_short_ones(make: object) -> None:
    """``tick(n)`` only says that n ticks have passed."""
    assert callable(make)
    one, many = make(World(3)), make(World(3))
    deadline = one.core.next_deadline()
    effects = one.tick(deadline)

    assert [many.tick() for _ in range(deadline)][-1] == effects
    assert effects != Effects()


def test_a_pause_alone_starts_no_election_before_the_mail_is_read() -> None:
    """A stalled shell reads its mail, then passes at most one election timeout minus one."""
    world = World(3)
    node = follower(world)
    for _ in range(20):
        node.receive(R2, Heartbeat(Term(1), Index(0), 2))
        node.tick(world.config.election_ticks_min - 1)

        assert node.core.role is Role.FOLLOWER
    assert world.take(PreVoteRequest) == []


def test_a_leader_that_slept_reads_the_answers_before_it_gives_up() -> None:
    """The same on the other side: answers that waited prove the majority."""
    world = World(3)
    leader = world.elect(N1)
    for answered in range(10):
        leader.receive(R2, HeartbeatReply(Term(1), answered))
        leader.tick(world.config.election_ticks_min - 1)

    assert leader.is_leader


def test_bytes_of_entries_from_the_leader_are_a_sign_of_life() -> None:
    """Ruling 32: a large append may take longer to arrive than an election timeout."""
    world = World(3)
    node = follower(world)
    for _ in range(10):
        node.tick(world.config.election_ticks_min - 1)
        node.step(Heard(R2))

    assert node.core.leader == N2
    node.tick(world.config.election_ticks_max)
    assert node.core.role is Role.PRE_CANDIDATE


def test_bytes_from_anybody_else_are_no_sign_of_life() -> None:
    """Only the leader's entries hold an election back."""
    world = World(3)
    node = follower(world)
    node.tick(node.core.next_deadline() - 1)
    node.step(Heard(world[N3].replica))
    node.tick()

    assert node.core.role is Role.PRE_CANDIDATE


def test_the_only_voter_leads_after_one_tick() -> None:
    """It has nobody to wait for."""
    world = World(1)
    assert world[N1].core.next_deadline() == 1
    world[N1].tick()

    assert world[N1].is_leader


def test_a_fresh_cluster_elects_in_a_fraction_of_an_election_timeout() -> None:
    """A fresh start asks early (decision 3): a pre-vote disturbs nobody who has a leader."""
    for seed in range(20):
        world = World(3, seed=seed)
        took = world.run(200, until=lambda: world.leader is not None)  # noqa: B023

        assert took < world.config.election_ticks_min


def test_an_early_start_does_not_disturb_a_leader() -> None:
    """A node that restarts asks early too, and is refused by whoever hears the leader."""
    world = World(3)
    world.elect(N1)
    world[N3].crash()
    world.isolate(N3)
    world[N3].tick(world[N3].core.next_deadline())
    world.heal()
    world.settle()

    assert world[N1].is_leader
    assert world[N1].core.term == Term(1)


def test_a_hint_is_only_about_the_leader() -> None:
    """The loss of any other connection changes nothing (ruling 13)."""
    world = World(3)
    node = follower(world)
    before = node.core.next_deadline()
    node.step(ConnectionLost(N3))

    assert node.core.next_deadline() == before
