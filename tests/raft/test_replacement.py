"""A node that comes back with another directory, and what operators have said about it."""

from typing import Final

from raftlog.base.errors import HeldBack, MemberAlive
from raftlog.base.ids import NodeId
from raftlog.raft.changes import AddLearner, Demote, Promote, Remove, Replace
from raftlog.raft.events import Transfer
from raftlog.raft.leader import SILENCES
from tests.raft.harness import N1, N2, N3, R1, R2, R3, Node, World, replica_id

REBORN: Final = replica_id(3, 33)
ADD_REBORN: Final = AddLearner(REBORN, "h3:1", "h3:2")
CATCH_UP_TICKS: Final = 200


def led(size: int = 3) -> tuple[World, Node]:
    """Return a world that n1 leads and whose no-op is committed."""
    world = World(size)
    leader = world.elect(N1)
    leader.propose(b"first")
    world.settle()
    return world, leader


def silence_ticks(world: World) -> int:
    """Return after how many ticks a leader takes silence for the end of a process."""
    return SILENCES * world.config.election_ticks_max


def voters(node: Node) -> list[NodeId]:
    """Return the names of the voters that ``node`` obeys."""
    return [replica.node for replica in node.core.membership.voters]


def test_a_living_replica_is_not_replaced() -> None:
    """Two nodes were given one name: the one that serves stays."""
    world, leader = led()
    world.run(2 * silence_ticks(world))

    assert isinstance(leader.change(Replace(R3)), MemberAlive)
    assert not leader.core.membership.is_joint


def test_a_leader_is_not_replaced() -> None:
    """Nobody is more alive."""
    world, leader = led()
    world.run(2 * silence_ticks(world))

    assert isinstance(leader.change(Replace(R1)), MemberAlive)


def test_a_silent_replica_is_replaced_only_after_a_while() -> None:
    """A process that is started again, or stands still, is silent too."""
    world, leader = led()
    world.isolate(N3)
    world.run(silence_ticks(world) // 2)
    assert isinstance(leader.change(Replace(R3)), MemberAlive)
    world.run(silence_ticks(world))
    assert isinstance(leader.change(Replace(R3)), int)
    world.settle()

    assert voters(leader) == [N1, N2]


def test_a_new_leader_does_not_know_who_is_silent() -> None:
    """It has asked nobody yet."""
    world, leader = led()
    world.isolate(N3)
    world.run(2 * silence_ticks(world))
    leader.step(Transfer(N2))
    world.settle()
    new = world[N2]
    assert new.is_leader

    assert isinstance(new.change(Replace(R3)), MemberAlive)


def test_who_was_replaced_already_needs_no_entry() -> None:
    """The answer was lost, and the new directory is there."""
    world, leader = led()
    leader.change(Remove(N3))
    world.settle()
    assert leader.change(Replace(R3)) == 0
    world.join(REBORN)
    leader.change(ADD_REBORN)
    world.settle()

    assert leader.change(Replace(R3)) == 0


# -- held


def demoted() -> tuple[World, Node]:
    """Return a world in which an operator has made n3 a learner."""
    world, leader = led()
    leader.change(Demote(N3))
    world.settle()
    world.run(CATCH_UP_TICKS)
    return world, leader


def test_who_was_demoted_does_not_vote_again_by_itself() -> None:
    """It was started again with --join; the operator's word stands, for the next leader too."""
    world, leader = demoted()
    assert isinstance(leader.change(Promote(N3, by_itself=True)), HeldBack)
    leader.step(Transfer(N2))
    world.settle()
    new = world[N2]
    assert new.is_leader
    world.run(CATCH_UP_TICKS)

    assert isinstance(new.change(Promote(N3, by_itself=True)), HeldBack)
    assert new.core.membership.learners == (R3,)


def test_an_operator_lets_it_vote_again() -> None:
    """And then it is as free as before."""
    world, leader = demoted()
    assert isinstance(leader.change(Promote(N3)), int)
    world.settle()

    assert voters(leader) == [N1, N2, N3]
    assert leader.core.membership.held == ()
    assert leader.change(Promote(N3, by_itself=True)) == 0


def test_a_new_directory_does_not_free_a_demoted_node() -> None:
    """Its disk was wiped meanwhile."""
    world, leader = demoted()
    world.isolate(N3)
    world.run(2 * silence_ticks(world))
    assert isinstance(leader.change(Replace(R3)), int)
    world.settle()
    world.join(REBORN)
    world.heal()
    leader.change(ADD_REBORN)
    world.settle()
    world.run(CATCH_UP_TICKS)

    assert isinstance(leader.change(Promote(N3, by_itself=True)), HeldBack)
    assert leader.core.membership.learners == (REBORN,)


def test_a_removal_frees_the_name() -> None:
    """Who comes later under it is somebody else."""
    world, leader = demoted()
    leader.change(Remove(N3))
    world.settle()

    assert leader.core.membership.held == ()
    assert leader.core.membership.replicas == (R1, R2)


def test_a_learner_that_joins_is_held_by_demoting_it() -> None:
    """An operator who is late still decides: one entry, no joint configuration."""
    world, leader = led()
    world.join(replica_id(4))
    leader.change(AddLearner(replica_id(4), "h4:1", "h4:2"))
    world.settle()
    world.run(CATCH_UP_TICKS)
    before = leader.core.log.last_index

    assert leader.change(Demote(NodeId("n4"))) == before + 1
    assert not leader.core.membership.is_joint
    world.settle()
    assert isinstance(leader.change(Promote(NodeId("n4"), by_itself=True)), HeldBack)
    assert leader.change(Demote(NodeId("n4"))) == 0
