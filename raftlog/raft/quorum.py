"""Majorities: what a set of voters has agreed to.

A joint configuration is two majorities that must both agree (Raft §4.3), so
everything about it is "ask both, take the more cautious answer". Nodes are
named by their id here; that an answer came from the very replica that is
counted, directory included, was checked at the core's gate (ruling 5).
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from itertools import repeat
from typing import Final

from raftlog.base.ids import INDEX_ZERO, Index, NodeId
from raftlog.base.membership import Membership

_NOTHING: Final = repeat(INDEX_ZERO)
EVERYTHING: Final = Index((1 << 64) - 1)
"""What an empty half commits: it never holds the other half back."""


class Verdict(Enum):
    """The state of an election."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


class Majority:
    """A set of voters, more than half of whom decide.

    The empty majority agrees to everything: it is the missing half of a
    configuration that is not joint.
    """

    def __init__(self, voters: Iterable[NodeId]) -> None:
        self.voters: Final = tuple(dict.fromkeys(voters))
        self.size: Final = len(self.voters) // 2 + 1
        """The smallest number of voters that decides."""
        self._members: Final = frozenset(self.voters)

    def committed(self, stored: Mapping[NodeId, Index]) -> Index:
        """Return the highest index that a deciding set has stored.

        Args:
            stored: The last index known to be durable on each node. A missing
                voter counts as having stored nothing.
        """
        if not self.voters:
            return EVERYTHING
        return sorted(map(stored.get, self.voters, _NOTHING))[-self.size]

    def verdict(self, granted: AbstractSet[NodeId], refused: AbstractSet[NodeId]) -> Verdict:
        """Return the outcome of an election, given the votes so far."""
        assert not granted & refused, f"voted both ways: {granted & refused}"
        if not self.voters or len(self._members & granted) >= self.size:
            return Verdict.WON
        if len(self._members - refused) < self.size:
            return Verdict.LOST
        return Verdict.PENDING


class Quorum:
    """One majority in normal times; two while membership is changing."""

    def __init__(self, current: Majority, outgoing: Majority | None = None) -> None:
        self._current = current
        self._outgoing = outgoing if outgoing is not None and outgoing.voters else None

    @classmethod
    def of(cls, membership: Membership) -> "Quorum":
        """Return the quorum of a shard's membership; learners do not count."""
        return cls(
            Majority(replica.node for replica in membership.voters),
            Majority(replica.node for replica in membership.outgoing),
        )

    def committed(self, stored: Mapping[NodeId, Index]) -> Index:
        """Return the highest index on which every half agrees."""
        index = self._current.committed(stored)
        if self._outgoing is not None:
            index = min(index, self._outgoing.committed(stored))
        return index

    def verdict(self, granted: AbstractSet[NodeId], refused: AbstractSet[NodeId]) -> Verdict:
        """Return LOST if any half lost, WON if all won, else PENDING."""
        verdict = self._current.verdict(granted, refused)
        if self._outgoing is None:
            return verdict
        verdicts = {verdict, self._outgoing.verdict(granted, refused)}
        if Verdict.LOST in verdicts:
            return Verdict.LOST
        return Verdict.WON if verdicts == {Verdict.WON} else Verdict.PENDING

    def agrees(self, nodes: AbstractSet[NodeId]) -> bool:
        """Whether ``nodes`` decide by themselves."""
        return self.verdict(nodes, frozenset()) is Verdict.WON
