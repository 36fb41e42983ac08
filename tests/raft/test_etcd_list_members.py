"""Cases of etcd's ``raft_test.go`` about members, snapshots and handovers, under their names.

Those that no other file here has; which case is where, and which cannot apply and why:
docs/explanation/oracles.md.
"""

from random import Random

import pytest

from raftlog.base.entry import LogEnd
from raftlog.base.errors import ChangePending
from raftlog.base.ids import Index, NodeId, Term
from raftlog.base.membership import NOBODY, Membership
from raftlog.base.writes import HardState, ResetLog
from raftlog.raft.changes import AddLearner, Demote, MemberChange, Promote, Remove
from raftlog.raft.config import CoreConfig
from raftlog.raft.core import RaftCore
from raftlog.raft.effects import Role, TransferEnded
from raftlog.raft.events import (
    Campaign,
    ConnectionLost,
    Receive,
    SnapshotFetched,
    Tick,
    Transfer,
    Trimmed,
)
from raftlog.raft.progress import Pace
from raftlog.raft.rpcs import (
    AppendAccepted,
    AppendRejected,
    AppendRequest,
    Heartbeat,
    SnapshotOffer,
    TimeoutNow,
)
from tests.raft.harness import N1, N2, N3, N4, R1, R2, R3, R4, Node, World, log_of, restored

BASE = LogEnd(Index(5), Term(1), log_of([1] * 5)[-1].checksum)
ADD_4 = AddLearner(R4, "h4:1", "h4:2")


def led(size: int = 3) -> tuple[World, Node]:
    """Return a world that n1 leads and whose no-op is committed."""
    world = World(size)
    leader = world.elect(N1)
    world.settle()
    return world, leader


# -- members


def test_new_leader_pending_config() -> None:
    """A leader whose log has a change that is not known to be committed begins no other."""
    world, leader = led()
    leader.change(ADD_4)
    world.deliver(AppendRequest)
    world.drop()
    world.isolate(N1)
    for node in (world[N2], world[N3]):
        node.slow_disk = True
        node.step(ConnectionLost(N1))
    elected = world[N2]
    elected.step(Campaign())
    while not elected.is_leader:
        world[N2].flush()
        world[N3].flush()
        assert world.deliver() or elected.is_leader
    assert elected.core.membership.find(N4) == R4
    assert elected.core.configured_at > elected.core.commit
    assert isinstance(elected.change(Remove(N4)), ChangePending)
    for node in (world[N2], world[N3]):
        node.flush()
        node.slow_disk = False
    world.settle()

    assert isinstance(elected.change(Remove(N4)), int)


def test_add_node_check_quorum() -> None:
    """Who has just been added has not answered yet: the leader does not step down for that."""
    world, leader = led(1)
    leader.change(ADD_4)
    world.settle()
    world.run(world.config.election_ticks_max)
    assert leader.is_leader
    world.join(R4)
    world.run(200)
    assert isinstance(leader.change(Promote(N4)), int)
    leader.tick(world.config.election_ticks_min - 1)
    assert leader.is_leader
    world.settle()
    world.run(2 * world.config.election_ticks_max)
    assert leader.is_leader
    world.isolate(N4)
    world.run(2 * world.config.election_ticks_max)

    assert not leader.is_leader, "one of two voters is no majority"


def test_remove_learner() -> None:
    """It is sent nothing more, and the voters stay as they are."""
    world, leader = led(2)
    world.join(R4)
    leader.change(ADD_4)
    world.settle()
    leader.change(Remove(N4))
    world.settle()

    assert leader.core.committed_membership.learners == ()
    assert [replica.node for replica in leader.core.membership.voters] == [N1, N2]
    world.run(3 * world.config.election_ticks_max)
    assert N4 not in leader.core.status().followers


def test_commit_after_remove_node() -> None:
    """What waited for a voter that is gone is committed by those who are left."""
    world, leader = led(2)
    leader.change(Remove(N2))
    leader.propose(b"waits")
    assert leader.core.commit < leader.core.log.last_index, "committed without n2's word"
    world.settle()

    assert not leader.core.membership.is_joint
    assert [replica.node for replica in leader.core.membership.voters] == [N1]
    assert b"waits" in [bytes(entry.body) for entry in leader.applied]
    world.isolate(N2)
    leader.propose(b"alone")
    assert leader.core.commit == leader.core.log.last_index


def test_non_promotable_voter_with_check_quorum() -> None:
    """Who is in no configuration that it knows follows and votes, and never stands."""
    world = World(2)
    world.nodes[N2] = Node(world, R2, membership=NOBODY)
    leader = world.elect(N1)
    world.isolate(N1)
    world.run(5 * world.config.election_ticks_max)

    assert leader.core.term == world[N2].core.term == Term(1)
    assert world[N2].core.role is Role.FOLLOWER


# -- snapshots


@pytest.mark.parametrize(
    "membership",
    [
        Membership((R1, R2, R3)),
        Membership((R1, R3), learners=(R2,)),
        Membership((R1, R2), outgoing=(R1, R2, R3)),
        Membership((R1, R3), outgoing=(R1, R2, R3), learners_next=(R2,)),
    ],
    ids=["restore", "with learner", "with voters outgoing", "voter to learner"],
)
@pytest.mark.parametrize("was", [Membership((R1, R2, R3)), Membership((R1,), learners=(R2,))])
def test_restore(was: Membership, membership: Membership) -> None:
    """Whatever it was before, a replica is what the snapshot's configuration makes of it."""
    entries = log_of([1, 1])
    start = restored(was, entries, HardState(Term(2)), 2, 0)
    core = RaftCore(R2, CoreConfig(), start, Random(1))
    core.step(Receive(R1, Heartbeat(Term(2), Index(0), 1)))
    effects = core.step(SnapshotFetched(BASE, membership.encode()))

    (write,) = effects.writes
    assert isinstance(write, ResetLog)
    assert (core.log.start, core.log.end, core.commit) == (BASE, BASE, BASE.index)
    assert core.membership == core.committed_membership == membership
    core.step(Tick(3 * CoreConfig().election_ticks_max))
    assert (core.role is Role.FOLLOWER) is not membership.is_voter(R2)


# -- handing over


def test_leader_transfer_after_snapshot() -> None:
    """Who needs a snapshot first is asked to stand once it has that and all that follows."""
    world = World(3, logs={N1: [1] * 6, N2: [1] * 2, N3: [1] * 6})
    world.isolate(N2)
    leader = world.elect(N1)
    leader.step(Trimmed(BASE))
    world.heal()
    leader.receive(R2, AppendRejected(Term(2), Index(6), Term(1), Index(2)))
    world.drop_all_but(SnapshotOffer)
    assert leader.progress(N2)[2] == Pace.SNAPSHOT.value
    leader.step(Transfer(N2))
    assert world.select(TimeoutNow) == []
    leader.receive(R2, AppendAccepted(Term(2), BASE.index))
    assert world.select(TimeoutNow) == []
    sent = [entry.index for each in world.take(AppendRequest, to=N2) for entry in each.entries]
    assert sent == [6, leader.core.log.last_index]
    leader.receive(R2, AppendAccepted(Term(2), leader.core.log.last_index))

    assert [sent.to for sent in world.select(TimeoutNow)] == [N2]


@pytest.mark.parametrize("change", [Remove(N3), Demote(N3)], ids=["remove", "demote"])
def test_leader_transfer_remove_node(change: MemberChange) -> None:
    """While leadership goes to a member, that member is not taken away; afterwards it may be."""
    world, leader = led()
    world.isolate(N3)
    leader.propose(b"n3 lacks this")
    world.settle()
    leader.step(Transfer(N3))
    assert isinstance(leader.change(change), ChangePending)
    world.run(world.config.election_ticks_max + 1)
    assert leader.transfers == [TransferEnded.TIMED_OUT]
    assert leader.is_leader
    assert isinstance(leader.change(change), int)
    world.settle()

    assert N3 not in [replica.node for replica in leader.core.membership.voters]


@pytest.mark.parametrize("target", [N2, N3], ids=["to another node", "to the same node"])
def test_leader_transfer_second_transfer(target: NodeId) -> None:
    """The second one is refused, and does not put off the end of the first one."""
    world, leader = led()
    world.isolate(N3)
    leader.propose(b"n3 lacks this")
    world.settle()
    leader.step(Transfer(N3))
    world.run(world.config.election_ticks_max - 1)
    leader.step(Transfer(target))
    assert leader.transfers == [TransferEnded.REFUSED]
    world.run(2)
    assert leader.transfers == [TransferEnded.REFUSED, TransferEnded.TIMED_OUT]
    leader.step(Transfer(N2))
    world.settle()

    assert world[N2].is_leader
