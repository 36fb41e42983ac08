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

    def leads(self, node: NodeId) -> None:
        """Take in that ``node`` begins to lead: nobody is late yet."""
        self._ticks[node] = 0
        self._answers[node] = {}

    def answers(self, node: NodeId, peer: NodeId) -> None:
        """Take in that ``peer`` answered ``node``, which leads."""
        self._answers[node][peer] = self._ticks[node]

    def passes(
        self, node: NodeId, ticks: int, patience: int, halves: Sequence[Sequence[NodeId]]
    ) -> None:
        """Take in that time passed and ``node`` still leads, by these halves of the voters.

        Raises:
            Violation: It should have stepped down.
        """
        self._ticks[node] = now = self._ticks[node] + ticks
        answers = self._answers[node]
        for half in halves:
            for peer in half:
                answers.setdefault(peer, now)
            heard = [
                peer
                for peer in half
                if peer == node or now - answers[peer] <= PATIENCES * patience
            ]
            if len(heard) * 2 <= len(half):
                raise Violation(NAME, f"{node} leads and hears only {heard} of {list(half)}")
