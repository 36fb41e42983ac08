"""Leader leases: reads that ask nobody, and what makes that safe (Raft §6.4.1, ruling 13)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.entry import EntryKind
from raftlog.base.ids import Index, Term
from raftlog.base.limits import TICK_NS
from raftlog.base.membership import Membership, decode_membership
from raftlog.raft.changes import Demote, Promote
from raftlog.raft.config import CoreConfig
from raftlog.raft.effects import ReadReady, TransferEnded
from raftlog.raft.events import Campaign, ConnectionLost, Read, Transfer
from raftlog.raft.lease import Lease, Moment, Pledge
from raftlog.raft.quorum import Quorum
from raftlog.raft.rpcs import (
    Heartbeat,
    HeartbeatReply,
    PreVoteReply,
    PreVoteRequest,
    ReadIndexReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from tests.raft.harness import N1, N2, N3, R1, R2, R3, Node, World

LEASES = CoreConfig(lease_reads=True)
MIN = LEASES.election_ticks_min
LEASE_TICKS = MIN * 9 // 10


def leased(size: int = 3, *, learners: int = 0) -> tuple[World, Node]:
    """Return a world whose leader n1 has just got pledges of everybody."""
    world = World(size, learners=learners, config=LEASES)
    leader = world.elect(N1)
    world.run(LEASES.heartbeat_ticks)
    world.drop()
    assert leader.core.membership.lease_ms == LEASES.lease_ms
    return world, leader


def served(node: Node, token: int = 7) -> bool:
    """Ask for a read; return whether it was answered at once."""
    before = len(node.ready)
    node.step(Read(token))
    return len(node.ready) > before


# -- having one


def test_leases_are_off_by_default() -> None:
    """Nobody pledges anything, and every read is confirmed by a round."""
    world = World(3)
    leader = world.elect(N1)
    world.run(world.config.heartbeat_ticks)
    replies = [each.message for each in world.history if isinstance(each.message, HeartbeatReply)]

    assert {reply.pledged_ms for reply in replies} == {0}
    assert not served(leader)
    assert leader.core.membership.lease_ms == 0


def test_a_leader_with_a_lease_reads_at_once() -> None:
    """Nothing is sent for it."""
    world, leader = leased()
    leader.propose(b"3")
    world.settle()
    sent = len(world.history)

    assert served(leader)
    assert leader.ready == [ReadReady(7, leader.core.commit)]
    assert len(world.history) == sent
    assert leader.core.leased_reads == 1


def test_a_followers_read_is_answered_by_the_lease() -> None:
    """One way there and one way back, no round in between."""
    world, _ = leased()
    world[N2].step(Read(7))
    world.deliver(to=N1)
    assert [type(each.message) for each in world.mail] == [ReadIndexReply]
    world.settle()

    assert world[N2].ready == [ReadReady(7, Index(2))]


def test_the_leader_makes_the_shard_have_leases() -> None:
    """By a configuration in the log, once it has committed an entry of its own term."""
    world = World(3, config=LEASES)
    leader = world.elect(N1)
    kinds = [entry.kind for entry in leader.disk]
    assert kinds == [EntryKind.NOOP, EntryKind.CONFIGURATION]
    assert decode_membership(leader.disk[1].body).lease_ms == LEASES.lease_ms == 10 * MIN


def test_a_leader_that_is_set_otherwise_ends_the_leases() -> None:
    """They end where it appends that, not where it is committed."""
    world, leader = leased()
    for node in world.nodes.values():
        node.core.config = CoreConfig()
    assert served(leader)
    leader.propose(b"3")
    world.deliver()
    world.deliver()

    assert leader.core.membership.lease_ms == 0
    assert leader.core.configured_at > leader.core.commit
    assert not served(leader)


def test_no_lease_before_an_entry_of_the_own_term_is_committed() -> None:
    """What earlier leaders have committed may not be known to be committed yet."""
    world, old = leased()
    world.isolate(N1)
    world.run(4 * MIN, until=lambda: world[N2].is_leader or world[N3].is_leader)
    (new,) = [node for node in (world[N2], world[N3]) if node.is_leader]
    new.core.leadership.first_index = Index(99)  # type: ignore[union-attr]
    world.run(LEASES.heartbeat_ticks)

    assert not served(new)
    assert not old.is_leader or not served(old)


def test_a_round_gives_a_lease_only_when_a_majority_has_answered() -> None:
    """One of four others is none."""
    world = World(5, config=LEASES)
    leader = world.elect(N1)
    leader.tick(LEASES.heartbeat_ticks)
    world.deliver(Heartbeat, to=N2)
    world.deliver(HeartbeatReply)
    assert not served(leader)
    world.deliver(Heartbeat, to=N3)
    world.deliver(HeartbeatReply)

    assert served(leader, 8)


def test_learners_pledge_nothing_that_counts() -> None:
    """They elect nobody."""
    world = World(3, learners=1, config=LEASES)
    leader = world.elect(N1)
    world.isolate(N2, N3)
    leader.tick(LEASES.heartbeat_ticks)
    world.settle()

    assert not served(leader)


@pytest.mark.parametrize("change", [Promote(N2), Demote(N2)])
def test_a_joint_configuration_needs_the_pledges_of_both_halves(
    change: Promote | Demote,
) -> None:
    """Either half may elect somebody, as soon as it is enough by itself again."""
    is_learner = isinstance(change, Promote)
    world = World(1 if is_learner else 2, learners=is_learner, config=LEASES)
    leader = world.elect(N1)
    world.run(3 * MIN)
    assert served(leader)
    world.isolate(N2)
    assert isinstance(leader.change(change), int)
    assert leader.core.membership.is_joint
    leader.core.leadership._lease._until_ns.clear()  # type: ignore[union-attr]

    assert not served(leader, 8)


# -- its end


def test_a_lease_lasts_for_nine_tenths_of_the_pledge() -> None:
    """Counted from when the round was sent, whenever its answers came."""
    world, leader = leased()
    world.isolate(N1)
    leader.tick(LEASE_TICKS - 1)
    world.drop()
    assert served(leader)
    leader.tick()

    assert not served(leader, 8)


def test_a_late_answer_gives_no_lease() -> None:
    """The pledge in it has been kept for long enough by then."""
    world, leader = leased()
    world.drop()
    leader.tick(LEASES.heartbeat_ticks)
    world.deliver(Heartbeat)
    late = [(each.sender, each.message) for each in world.select(HeartbeatReply)]
    world.drop()
    leader.now_ns += MIN * TICK_NS
    for sender, message in late:
        leader.receive(sender, message)

    assert not served(leader)


def test_a_leader_that_stood_still_has_no_lease() -> None:
    """Its clock went on, whatever it was told in ticks (SIGSTOP, or a machine asleep)."""
    _, leader = leased()
    leader.now_ns += MIN * TICK_NS

    assert not served(leader)


def test_who_asked_another_to_stand_has_no_lease_in_that_term() -> None:
    """Not even when the transfer has failed: the message may still arrive."""
    world, leader = leased()
    leader.step(Transfer(N2))
    (late,) = world.take(TimeoutNow)
    assert not served(leader)
    for _ in range(LEASES.election_ticks_max):
        leader.tick()
        world.settle()
    assert leader.transfers == [TransferEnded.TIMED_OUT]
    leader.propose(b"3")
    world.settle()
    assert not served(leader, 8)

    world.isolate(N1)
    world[N2].receive(leader.replica, late)
    world.settle()
    assert world[N2].is_leader, "while the old leader knows nothing of it"
    assert leader.is_leader


def test_a_shorter_pledge_counts_for_what_it_is() -> None:
    """A voter that obeys an older configuration says for how long it pledges."""
    world, leader = leased()
    world.isolate(N1)
    leader.tick(LEASES.heartbeat_ticks)
    round_number = world.take(Heartbeat, to=N2)[0].round
    leader.core.leadership._lease._until_ns.clear()  # type: ignore[union-attr]
    leader.receive(R2, HeartbeatReply(Term(1), round_number, pledged_ms=100))
    assert served(leader)
    leader.tick(9)

    assert not served(leader, 8)


def test_a_longer_pledge_counts_for_what_the_configuration_says() -> None:
    """The voter may start again, and then knows only the newer configuration."""
    world, leader = leased()
    world.isolate(N1)
    leader.tick(LEASES.heartbeat_ticks)
    round_number = world.take(Heartbeat, to=N2)[0].round
    leader.receive(R2, HeartbeatReply(Term(1), round_number, pledged_ms=60_000))
    leader.tick(LEASE_TICKS)

    assert not served(leader)


# -- keeping a pledge


def ask(node: Node, *, transfer: bool = False, term: int = 2) -> list[bool]:
    """Let n3 ask ``node`` for a pre-vote and a vote; return what it said to each."""
    last = node.core.log.last_id
    node.receive(R3, PreVoteRequest(Term(term), last.term, last.index))
    node.receive(R3, VoteRequest(Term(term), last.term, last.index, transfer))
    answers = node._world.take(PreVoteReply, to=N3) + node._world.take(VoteReply, to=N3)
    return [answer.granted for answer in answers]


def test_a_voter_keeps_its_pledge_when_the_connection_is_lost() -> None:
    """The hint of ruling 13 would elect another in 50 ms; the lease has 400 left."""
    world, _ = leased()
    world[N2].step(ConnectionLost(N1))
    world[N2].tick(LEASES.hint_ticks_max)

    assert not world[N2].core._patience.leader_lost
    assert ask(world[N2]) == [False], "and the vote is not even answered"
    assert world[N2].core.term == Term(1)


def test_a_voter_keeps_its_pledge_in_a_later_term() -> None:
    """Somebody has told it of the term; it knows no leader there, and is free to vote."""
    world, _ = leased()
    world[N2].receive(R3, HeartbeatReply(Term(2), 0))
    assert world[N2].core.leader is None

    assert ask(world[N2]) == [False, False]
    world[N2].tick(MIN)
    assert ask(world[N2])[-1]


def test_a_voter_with_a_pledge_does_not_stand_for_election() -> None:
    """Its own vote is a vote, however short its patience is."""
    world, _ = leased()
    world[N2].step(Campaign())
    assert world.mail == []
    world[N2].now_ns += MIN * TICK_NS
    world[N2].step(Campaign())

    assert world.select(PreVoteRequest)


def test_what_the_leader_asked_for_is_no_breach() -> None:
    """A transfer costs a round trip, not an election timeout."""
    world, leader = leased()
    leader.step(Transfer(N2))
    world.settle()

    assert world[N2].is_leader
    assert leader.core.leader == N2


def test_a_voter_that_was_started_again_grants_nothing_for_a_while() -> None:
    """It has forgotten what it has pledged, and knows how much that may have been."""
    world, _ = leased()
    node = world[N2]
    node.crash()
    world.drop()
    assert ask(node) == [False]
    node.step(Campaign())
    assert world.mail == []
    node.tick(MIN)
    world.drop()

    assert ask(node)[-1]


def test_no_pledge_before_the_disk_has_what_it_rests_on() -> None:
    """Else a power cut would forget that there was a pledge."""
    world = World(3, config=LEASES)
    leader = world.elect(N1)
    node = world[N2]
    node.slow_disk = True
    for each in world.nodes.values():
        each.core.config = msgspec.structs.replace(LEASES, election_ticks_min=60)
    leader.propose(b"3")
    world.settle()
    assert node.core.membership.lease_ms == 600
    assert node.core.durable < node.core.configured_at
    world.run(LEASES.heartbeat_ticks)
    replies = [
        each.message
        for each in world.history
        if isinstance(each.message, HeartbeatReply) and each.sender == R2
    ]
    assert replies[-1].pledged_ms == 0
    node.flush()
    world.run(LEASES.heartbeat_ticks)
    last = [m.message for m in world.history if isinstance(m.message, HeartbeatReply)][-1]

    assert last.pledged_ms == 600


def test_a_cluster_with_leases_elects_a_new_leader() -> None:
    """Once the pledges have been kept: within the longest election timeout and two rounds."""
    world, leader = leased(5)
    world.isolate(N1)
    ticks = world.run(3 * LEASES.election_ticks_max, until=lambda: world.leader is not leader)

    assert MIN <= ticks <= 2 * LEASES.election_ticks_max


def test_a_cluster_with_leases_starts_again() -> None:
    """It waits for an election timeout before anybody may be elected."""
    world, _ = leased()
    for node in world.nodes.values():
        node.crash()
    world.drop()
    ticks = world.run(4 * LEASES.election_ticks_max, until=lambda: world.leader is not None)

    assert MIN <= ticks <= 3 * LEASES.election_ticks_max


# -- clocks


@given(
    leader_ppm=st.integers(-50_000, 50_000),
    voter_ppm=st.integers(-50_000, 50_000),
    way_ns=st.integers(0, 10**9),
    lease_ms=st.integers(20, 60_000),
)
def test_a_lease_ends_before_the_pledge_as_long_as_clocks_are_within_five_percent(
    leader_ppm: int, voter_ppm: int, way_ns: int, lease_ms: int
) -> None:
    """The bound that the documentation names; the way of the message only makes it safer."""

    def clock(true_ns: int, ppm: int) -> int:
        return true_ns * (1_000_000 + ppm) // 1_000_000

    leader, voter = Moment(clock(0, leader_ppm)), Moment(0)
    membership = Membership((R1, R2), lease_ms=lease_ms)
    lease, pledge = Lease(leader, R1), Pledge(voter, 0)
    lease.obey(membership, Quorum.of(membership))
    lease.round_begins(1)
    voter.ns = clock(way_ns, voter_ppm)
    lease.pledged(R2, 1, pledge.give(lease_ms))
    for true_ns in range(way_ns, way_ns + 2 * lease_ms * 1_000_000, lease_ms * 10_000):
        leader.ns, voter.ns = clock(true_ns, leader_ppm), clock(true_ns, voter_ppm)
        assert pledge.holds or not lease.holds, f"{true_ns} ns after the round"


@pytest.mark.parametrize("lease_ms", [-1, 60_001])
def test_pledges_without_bound_are_no_configuration(lease_ms: int) -> None:
    """A voter would grant nothing for as long as such an entry says."""
    with pytest.raises(ValueError, match="pledge"):
        Membership((R2,), lease_ms=lease_ms)


def test_a_configuration_without_leases_has_the_bytes_that_it_always_had() -> None:
    """Replicas of the last version must make the same of it."""
    plain = Membership((R2, R3))
    assert decode_membership(plain.encode()) == plain
    assert len(msgspec.msgpack.decode(plain.encode())) == 3
    with_leases = msgspec.structs.replace(plain, lease_ms=500)
    assert decode_membership(with_leases.encode()) == with_leases


def test_the_election_timeout_bounds_a_pledge() -> None:
    """Longer ones are refused where they are set."""
    with pytest.raises(ValueError, match="pledges"):
        CoreConfig(election_ticks_min=6_001, election_ticks_max=6_002, lease_reads=True)
