"""What one survivor writes when a majority is given up, and how the others take it."""

import pytest

from raftlog.base.entry import EntryKind, seal
from raftlog.base.errors import BadChange
from raftlog.base.ids import Index, NodeId, ReplicaId, Term
from raftlog.base.membership import MemberAddresses, Membership, decode_membership
from raftlog.base.writes import HardState
from raftlog.raft.changes import AddLearner, Promote, next_membership
from raftlog.raft.lost_majority import LOST_MAX, forced, term_of_recovery, without_lost
from tests.raft.harness import (
    N1,
    N2,
    N3,
    N4,
    N5,
    R1,
    R2,
    R3,
    R4,
    R5,
    Node,
    World,
    replica_id,
)

THREE = Membership((R1, R2, R3))
FIVE = Membership((R1, R2, R3, R4, R5))


def left(membership: Membership, me: ReplicaId, *lost: NodeId) -> Membership:
    """Return who is left; some of the lost were members."""
    found = without_lost(membership, me, lost)
    assert found is not None, f"{lost} are no members"
    return found


def recover(node: Node, *lost: NodeId) -> None:
    """Do to a stopped node's disk what ``raftlog node unsafe-recover`` does, and start it."""
    before = node.core.membership
    end = node.disk[-1]
    highest = max(node.hard_state.term, end.term)
    term = term_of_recovery(highest, before, node.replica)
    index = Index(end.index + 1)
    marked = forced(before, left(before, node.replica, *lost), node.replica, lost, index, 7)
    node.hard_state = HardState(term, node.replica)
    node.disk.append(seal(EntryKind.CONFIGURATION, term, index, end.checksum, [marked.encode()]))
    node.start()


# -- who is left


def test_the_lost_are_no_members_any_more() -> None:
    """One of three, two of five; learners go on learning."""
    assert left(THREE, R1, N2, N3).voters == (R1,)
    assert left(FIVE, R2, N1, N3, N4).voters == (R2, R5)
    with_learners = Membership((R1, R2, R3), learners=(R4, R5))
    assert left(with_learners, R1, N2, N3, N5) == Membership((R1,), learners=(R4,))


def test_a_joint_configuration_is_left_with_its_new_half() -> None:
    """Whose learners-to-be are learners; who was being removed is gone, but for the survivor."""
    joint = Membership((R1, R2, R3), outgoing=(R1, R2, R4, R5), learners_next=(R4,))
    assert left(joint, R1, N2, N3) == Membership((R1,), learners=(R4,))
    assert left(joint, R5, N1, N2, N3).voters == (R5,)


def test_a_learner_that_is_all_that_is_left_votes_then() -> None:
    """It has a log, and nobody else has one."""
    membership = Membership((R1, R2), learners=(R3, R4))
    assert left(membership, R3, N1, N2) == Membership((R3,), learners=(R4,))


def test_nobody_is_held_back_who_votes_or_is_gone() -> None:
    """An operator made n3 and n4 learners; there is nobody but n3 to vote now."""
    membership = Membership((R1, R2), learners=(R3, R4, R5), held=(N3, N4, N5))
    assert left(membership, R3, N1, N2, N5).held == (N4,)


def test_who_is_gone_is_not_preferred_either() -> None:
    """No leader would wait for it."""
    membership = Membership((R1, R2, R3), preferred=(N3, N1))
    assert left(membership, R1, N2, N3).preferred == (N1,)


def test_addresses_of_the_lost_are_forgotten() -> None:
    """As with every change."""
    where = [MemberAddresses(each.node, "a:1", "a:2") for each in (R1, R2)]
    membership = Membership((R1, R2, R3), addresses=tuple(where))
    assert left(membership, R1, N2, N3).addresses == (where[0],)


@pytest.mark.parametrize(
    ("membership", "me", "lost", "part"),
    [
        (THREE, R1, [N2], "are a majority without n2"),
        (FIVE, R1, [N4, N5], "are a majority without n4 and n5"),
        (Membership((R1, R2), learners=(R3,)), R1, [N3], "are a majority"),
        (THREE, R1, [N1, N2], "it can't be given up"),
        (THREE, R4, [N2, N3], "is no member of the shard"),
        (THREE, replica_id(1, 9), [N2, N3], "is no member of the shard"),
    ],
)
def test_what_need_not_be_or_cannot_be_is_refused(
    membership: Membership, me: ReplicaId, lost: list[NodeId], part: str
) -> None:
    """Nothing is given up that the others can still decide."""
    with pytest.raises(BadChange, match=part):
        without_lost(membership, me, lost)


def test_of_a_joint_configuration_one_lost_half_is_enough() -> None:
    """Each half must be able to decide."""
    joint = Membership((R1, R2, R3, R4, R5), outgoing=(R1, R2))
    assert left(joint, R1, N2).voters == (R1, R3, R4, R5)


def test_nobody_of_the_lost_is_a_member() -> None:
    """So the shard needs nothing: it may have been done before."""
    assert without_lost(THREE, R1, [N4]) is None


# -- the mark


def test_the_mark_is_in_every_later_configuration_and_in_its_bytes() -> None:
    """Also in that of another recovery, which adds to it."""
    first = forced(THREE, left(THREE, R1, N2, N3), R1, [N2, N3], Index(9), 1_000)
    assert first.recovery is not None
    assert (first.recovery.index, first.recovery.by, first.recovery.lost) == (9, R1, (R2, R3))
    assert decode_membership(first.encode()) == first

    grown = next_membership(first, AddLearner(R4, "a:1", "a:2"))
    assert grown is not None
    grown = next_membership(grown, Promote(N4))
    assert grown is not None
    assert grown.recovery == first.recovery

    pair = Membership((R1, R4), recovery=first.recovery)
    second = forced(pair, left(pair, R4, N1), R4, [N1], Index(20), 2_000)
    assert second.recovery is not None
    assert second.recovery.lost == (R2, R3, R1)
    assert second.gave_up(R1)
    assert not second.gave_up(R4)


def test_who_was_being_removed_is_not_given_up() -> None:
    """It is there, and nobody has said that it is not."""
    joint = Membership((R1, R2), outgoing=(R1, R2, R3))
    marked = forced(joint, left(joint, R1, N2), R1, [N2], Index(9), 0)
    assert (marked.voters, marked.outgoing) == ((R1,), ())
    assert marked.gave_up(R2)
    assert not marked.gave_up(R3)


def test_a_configuration_without_a_mark_has_the_bytes_that_it_always_had() -> None:
    """The formation's entry is the same on every replica, of every version."""
    assert THREE.encode() == Membership((R1, R2, R3), recovery=None).encode()
    assert decode_membership(THREE.encode()).recovery is None


def test_what_is_remembered_has_a_bound() -> None:
    """The latest ones count: who was lost long ago has rotted since."""
    membership = THREE
    for number in range(10, 10 + LOST_MAX):
        pair = Membership((R1, replica_id(number)), recovery=membership.recovery)
        gone = NodeId(f"n{number}")
        membership = forced(pair, left(pair, R1, gone), R1, [gone], Index(number), 0)
    assert membership.recovery is not None
    assert len(membership.recovery.lost) == LOST_MAX


def test_who_was_given_up_is_never_added_again() -> None:
    """The same directory may hold what this shard went on without; a new one is welcome."""
    marked = forced(THREE, left(THREE, R1, N2, N3), R1, [N2, N3], Index(9), 0)
    with pytest.raises(BadChange, match="given up"):
        next_membership(marked, AddLearner(R2, "a:1", "a:2"))
    assert next_membership(marked, AddLearner(replica_id(2, 9), "a:1", "a:2")) is not None


def test_two_survivors_never_draw_the_same_term() -> None:
    """Two entries of one term and index would be taken for one."""
    for highest in range(20):
        drawn = {term_of_recovery(Term(highest), FIVE, me) for me in FIVE.voters}
        assert len(drawn) == len(FIVE.voters)
        assert min(drawn) > highest
    others = {term_of_recovery(Term(12), FIVE, R1), term_of_recovery(Term(11), FIVE, R2)}
    assert len(others) == 2


# -- how it goes on


def test_the_only_survivor_leads_and_takes_in_others() -> None:
    """What it had is committed, and new members get it."""
    world = World(3)
    world.elect(N1).propose(b"kept")
    world.settle()
    survivor = world.nodes[N2]
    for gone in (N1, N3):
        del world.nodes[gone]
    recover(survivor, N1, N3)
    world.elect(N2)
    survivor.propose(b"after")
    world.settle()
    assert survivor.core.commit == len(survivor.view)
    assert b"kept" in [bytes(entry.body) for entry in survivor.applied]

    again = replica_id(1, 9)
    joined = world.join(again)
    assert isinstance(survivor.change(AddLearner(again, "h:1", "h:2")), int)
    world.settle()
    assert joined.terms == survivor.terms
    assert joined.core.membership.gave_up(R1)


def test_another_survivor_follows_who_was_recovered() -> None:
    """It still obeys the five, so it can't win; what only it had, and nobody committed, goes."""
    world = World(5, logs={N1: [1, 1, 2], N2: [1, 1, 2, 2], N3: [1], N4: [1], N5: [1]})
    for gone in (N3, N4, N5):
        del world.nodes[gone]
    one, other = world.nodes[N1], world.nodes[N2]
    recover(one, N3, N4, N5)
    other.start()
    world.elect(N1)
    world.run(20)
    assert one.is_leader
    assert other.terms == one.terms
    assert other.core.membership.voters == (R1, R2)
    assert other.core.commit == one.core.commit == len(one.view)


def test_a_survivor_that_knew_more_is_not_overwritten_in_silence() -> None:
    """Recovering the wrong one cuts into what the other knows to be committed: it stops."""
    world = World(5, logs={N1: [1], N2: [1, 1, 1], N3: [1], N4: [1], N5: [1]})
    for gone in (N3, N4, N5):
        del world.nodes[gone]
    other = world.nodes[N2]
    other.start(commit=3)
    recover(world.nodes[N1], N3, N4, N5)
    with pytest.raises(AssertionError, match="contradicts committed entry"):
        world.elect(N1)
