"""What one replica may say of the members, and how certain that is."""

from raftlog.node.members_seen import MembersSeen
from raftlog.raft.changes import Remove
from tests.raft.harness import N1, N2, N3, World


def test_members_are_decided_once_the_leader_knows_that_they_are_committed() -> None:
    """Else a node could end for a removal that another leader takes back."""
    world = World(3)
    leader = world.elect(N1)
    world.settle()
    seen = MembersSeen(leader.core)
    assert seen.are_decided
    assert not MembersSeen(world[N2].core).are_decided

    world.isolate(N2, N3)
    assert isinstance(leader.change(Remove(N3)), int)
    world.settle()
    assert not seen.are_decided

    world.heal()
    world.run(200)
    assert seen.are_decided
    assert leader.core.membership.find(N3) is None


def test_a_new_leader_decides_nothing_before_it_has_committed_an_entry_of_its_own() -> None:
    """It may not know of a change that is committed (Raft §4.1)."""
    world = World(3)
    leader = world.elect(N1)
    leader.core.commit = leader.core.leadership.first_index - 1  # type: ignore[union-attr, assignment]

    assert not MembersSeen(leader.core).are_decided
