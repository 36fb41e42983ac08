"""Majorities and joint majorities, by table and by definition."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.base.ids import Index, NodeId
from raftlog.base.membership import Membership
from raftlog.raft.quorum import EVERYTHING, Majority, Quorum, Verdict
from tests.raft.harness import R1, R2, R3, R4


def nodes(names: str) -> set[NodeId]:
    """Turn ``"abc"`` into the nodes a, b and c."""
    return {NodeId(name) for name in names}


def joint(current: str, outgoing: str) -> Quorum:
    """Return the quorum of two halves."""
    return Quorum(Majority(nodes(current)), Majority(nodes(outgoing)))


COMMITTED: Final = [
    # current, outgoing, stored index by voter, committed
    ("a", "", {"a": 12}, 12),
    ("ab", "", {"a": 12}, 0),  # a half is not a majority
    ("ab", "", {"a": 12, "b": 5}, 5),
    ("abc", "", {"a": 12, "b": 5}, 5),
    ("abc", "", {"a": 3, "x": 99, "y": 99}, 0),  # strangers never count
    ("abcd", "", {"a": 9, "b": 8, "c": 7, "d": 6}, 7),  # three of four
    ("abcde", "", {"a": 9, "b": 8, "c": 7}, 7),
    ("abc", "cde", {"a": 9, "b": 9}, 0),  # the outgoing half has stored nothing
    ("abc", "cde", {"a": 9, "b": 8, "d": 5, "e": 6}, 5),
    ("", "", {}, EVERYTHING),
]


@pytest.mark.parametrize(("current", "outgoing", "stored", "expected"), COMMITTED)
def test_an_index_is_committed_when_more_than_half_of_each_half_stored_it(
    current: str, outgoing: str, stored: dict[str, int], expected: int
) -> None:
    """The middle of the stored indexes, rounded down; the smaller one of two halves."""
    by_node = {NodeId(name): Index(index) for name, index in stored.items()}

    assert joint(current, outgoing).committed(by_node) == expected


VERDICTS: Final = [
    # current, outgoing, granted, refused, verdict
    ("abc", "", "a", "", Verdict.PENDING),
    ("abc", "", "ab", "", Verdict.WON),
    ("abc", "", "a", "bc", Verdict.LOST),
    ("abc", "", "axyz", "", Verdict.PENDING),  # strangers never count
    ("abc", "", "", "bxyz", Verdict.PENDING),
    ("ab", "", "a", "b", Verdict.LOST),
    ("abc", "cde", "ab", "", Verdict.PENDING),  # the outgoing half has not spoken
    ("abc", "cde", "abde", "", Verdict.WON),
    ("abc", "cde", "ab", "de", Verdict.LOST),  # one half lost is lost
]


@pytest.mark.parametrize(("current", "outgoing", "granted", "refused", "expected"), VERDICTS)
def test_a_joint_election_needs_both_halves(
    current: str, outgoing: str, granted: str, refused: str, expected: Verdict
) -> None:
    """It is lost as soon as one half can no longer be won."""
    quorum = joint(current, outgoing)

    assert quorum.verdict(nodes(granted), nodes(refused)) is expected
    assert quorum.agrees(nodes(granted)) is (expected is Verdict.WON)


def test_a_node_that_votes_both_ways_is_a_bug_of_ours() -> None:
    """The candidacy keeps a node's first answer; both at once would be counted twice."""
    with pytest.raises(AssertionError, match="both ways"):
        joint("abc", "").verdict(nodes("a"), nodes("a"))


def test_a_membership_counts_voters_of_both_halves_and_no_learners() -> None:
    """Learners receive the log and decide nothing."""
    quorum = Quorum.of(Membership(voters=(R1, R2), outgoing=(R1, R3), learners=(R4,)))

    assert not quorum.agrees({R1.node, R4.node})
    assert not quorum.agrees({R1.node, R2.node})
    assert quorum.agrees({R1.node, R2.node, R3.node})


NAMES: Final = "abcdefg"
HALVES: Final = st.sets(st.sampled_from(NAMES), max_size=7).map(
    lambda names: "".join(sorted(names))
)
INDEXES: Final = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 5))


@given(HALVES, HALVES, INDEXES)
def test_the_committed_index_is_the_highest_that_both_halves_agree_on(
    current: str, outgoing: str, stored: dict[str, int]
) -> None:
    """By definition: ask of each index whether the nodes that have it decide."""
    by_node = {NodeId(name): Index(index) for name, index in stored.items()}
    quorum = joint(current, outgoing)
    agreed = [
        index
        for index in range(7)
        if quorum.agrees({node for node in nodes(NAMES) if by_node.get(node, 0) >= index})
    ]
    committed = quorum.committed(by_node)

    assert committed == (max(agreed) if current or outgoing else EVERYTHING)
    assert joint(outgoing, current).committed(by_node) == committed
