"""Who leads is answered by a majority, or does not lead for long (Raft §6.2).

A leader that only sends, because the way back is broken, would keep everybody
patient and commit nothing. Time is counted in its own ticks.
"""

from collections.abc import Sequence
from typing import Final

from chaos.check.violation import Violation
from raftlog.base.ids import NodeId

NAME: Final = "leaders_are_heard"
PATIENCES: Final = 3
"""It looks once in each patience, at what came since the last look, and ticks come several at
a time."""


class LeadersAreHeard:
    """Remembers who answered each leader when."""

    def __init__(self) -> None:
        self._ticks: dict[NodeId, int] = {}
        self._answers: dict[NodeId, dict[NodeId, int]] = {}
        self._halves: dict[NodeId, dict[frozenset[NodeId], int]] = {}
        """Of each leader: the halves that it needs, and since when it needs them."""

    def leads(self, node: NodeId) -> None:
        """Take in that ``node`` begins to lead: nobody is late yet."""
        self._ticks[node] = 0
        self._answers[node] = {}
        self._halves[node] = {}

    def answers(self, node: NodeId, peer: NodeId) -> None:
        """Take in that ``peer`` answered ``node``, which leads."""
        self._answers[node][peer] = self._ticks[node]

    def passes(
        self, node: NodeId, ticks: int, patience: int, halves: Sequence[Sequence[NodeId]]
    ) -> None:
        """Take in that time passed and ``node`` still leads, by these halves of the voters.

        A half that is news begins with nobody late: who was silent all along had not been
        needed, and the leader looks at it only now.

        Raises:
            Violation: It should have stepped down.
        """
        self._ticks[node] = now = self._ticks[node] + ticks
        answers, known = self._answers[node], self._halves[node]
        needed = self._halves[node] = {}
        for half in halves:
            voters = frozenset(half)
            since = needed[voters] = known.get(voters, now)
            heard = [
                peer
                for peer in half
                if peer == node or now - max(since, answers.get(peer, 0)) <= PATIENCES * patience
            ]
            if len(heard) * 2 <= len(half):
                raise Violation(NAME, f"{node} leads and hears only {heard} of {list(half)}")
