"""From one membership to the next: which changes there are, and which are refused."""

from collections.abc import Callable

import msgspec
import pytest

from raftlog.base.errors import BadChange, MemberExists, MemberNotFound
from raftlog.base.limits import LEARNERS_MAX, VOTERS_MAX
from raftlog.base.membership import (
    NOBODY,
    MemberAddresses,
    Membership,
    decode_membership,
)
from raftlog.raft.changes import (
    AddLearner,
    Demote,
    MemberChange,
    Promote,
    Remove,
    Replace,
    leave_joint,
    next_membership,
)
from tests.raft.harness import N1, N2, N3, N4, R1, R2, R3, R4, node_id, replica_id

THREE = Membership((R1, R2, R3))
ADD_4 = AddLearner(R4, "h4:1", "h4:2")
AT_4 = MemberAddresses(N4, "h4:1", "h4:2")
WITH_LEARNER = Membership((R1, R2, R3), (), (R4,), (), (AT_4,))
HELD = Membership((R1, R2), (), (R4,), held=(N4,))


def test_a_learner_is_added_in_one_entry_because_no_voter_changes() -> None:
    """Its addresses travel with it: who learns of it can reach it."""
    assert next_membership(THREE, ADD_4) == WITH_LEARNER


@pytest.mark.parametrize(
    ("before", "change", "joint", "after"),
    [
        (
            WITH_LEARNER,
            Promote(N4),
            Membership((R1, R2, R3, R4), (R1, R2, R3), (), (), (AT_4,)),
            Membership((R1, R2, R3, R4), (), (), (), (AT_4,)),
        ),
        (
            THREE,
            Demote(N1),
            Membership((R2, R3), (R1, R2, R3), (), (R1,), held=(N1,)),
            Membership((R2, R3), (), (R1,), held=(N1,)),
        ),
        (THREE, Remove(N3), Membership((R1, R2), (R1, R2, R3)), Membership((R1, R2))),
        (
            Membership((R1, R2)),
            Remove(N1),
            Membership((R2,), (R1, R2)),
            Membership((R2,)),
        ),
    ],
)
def test_a_change_of_a_voter_is_a_joint_configuration_that_is_left(
    before: Membership, change: MemberChange, joint: Membership, after: Membership
) -> None:
    """A single step too, so that there is one way only; also the last voter but one may go."""
    assert next_membership(before, change) == joint
    assert leave_joint(joint) == after


def test_a_removed_learner_takes_its_addresses_along() -> None:
    """Nothing of it is left, in one entry."""
    assert next_membership(WITH_LEARNER, Remove(N4)) == THREE


def test_a_removed_voter_is_reachable_until_the_joint_configuration_is_left() -> None:
    """It still counts in the outgoing half."""
    voters = Membership((R1, R2, R3, R4), (), (), (), (AT_4,))
    joint = next_membership(voters, Remove(N4))

    assert joint is not None
    assert joint.addresses_of(N4) == AT_4
    assert leave_joint(joint).addresses == ()


@pytest.mark.parametrize(
    ("membership", "change"),
    [(WITH_LEARNER, ADD_4), (THREE, Promote(N1)), (HELD, Demote(N4)), (HELD, Replace(R3))],
)
def test_what_is_so_already_needs_no_entry(membership: Membership, change: MemberChange) -> None:
    """An operator may repeat a command whose answer was lost."""
    assert next_membership(membership, change) is None


def test_adding_a_member_again_says_where_it_is_now() -> None:
    """A node may move to another address."""
    moved = next_membership(WITH_LEARNER, AddLearner(R4, "new:1", "new:2"))

    assert moved is not None
    assert moved.learners == (R4,)
    assert moved.addresses == (MemberAddresses(N4, "new:1", "new:2"),)


@pytest.mark.parametrize(
    ("membership", "change", "error"),
    [
        (THREE, Promote(N4), MemberNotFound),
        (THREE, Demote(N4), MemberNotFound),
        (THREE, Remove(N4), MemberNotFound),
        (THREE, AddLearner(replica_id(2, 9), "a:1", "a:2"), MemberExists),
        (Membership((R1,)), Remove(N1), BadChange),
        (Membership((R1,), (), (R2,)), Demote(N1), BadChange),
        (
            Membership(
                tuple(replica_id(n) for n in range(1, VOTERS_MAX + 1)), (), (replica_id(9),)
            ),
            Promote(node_id(9)),
            BadChange,
        ),
        (
            Membership((R1,), (), tuple(replica_id(n) for n in range(2, LEARNERS_MAX + 2))),
            AddLearner(replica_id(99), "a:1", "a:2"),
            BadChange,
        ),
    ],
)
def test_what_may_not_be_is_refused(
    membership: Membership, change: MemberChange, error: type[Exception]
) -> None:
    """By a typed error with the reason."""
    with pytest.raises(error):
        next_membership(membership, change)


@pytest.mark.parametrize("membership", [NOBODY, THREE, WITH_LEARNER, HELD])
def test_a_membership_survives_the_log(membership: Membership) -> None:
    """Encoded and decoded it is the same."""
    assert decode_membership(membership.encode()) == membership


def test_the_entry_of_a_formation_has_the_bytes_that_it_always_had() -> None:
    """Entry 1 of logs that exist is never written again, and must stay equal everywhere."""
    assert THREE.encode() == msgspec.msgpack.encode([list(THREE.voters), [], []])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Membership((), (R1,)),
        lambda: Membership((), (), (R1,)),
        lambda: Membership((R1, R1)),
        lambda: Membership((R1, replica_id(1, 9))),
        lambda: Membership((R1,), (), (R1,)),
        lambda: Membership((R1,), (R1, R2), (R2,)),
        lambda: Membership((R1,), (), (replica_id(1, 9),)),
        lambda: Membership((R1, R2), (R1, R2), (), (R2,)),
        lambda: Membership((R1,), (), (), (R2,)),
        lambda: Membership((R1,), (), tuple(replica_id(n) for n in range(2, 20))),
        lambda: Membership(tuple(replica_id(n) for n in range(1, 20))),
    ],
)
def test_no_membership_decides_nothing_or_twice(make: Callable[[], Membership]) -> None:
    """Such a value can't be made, so no log can hold it."""
    with pytest.raises(ValueError, match=r"."):
        make()


def test_a_new_learner_knows_nobody() -> None:
    """It has no voters, and therefore no members."""
    assert NOBODY.replicas == ()
    assert not NOBODY.is_joint
    assert NOBODY.find(N2) is None
    assert THREE.find(N3) == R3
