"""Who hears its leader helps nobody else to become one (Raft §6, §9.6, ruling 13).

A replica that lost its connections to the leader, and only those, must not unseat
it: as long as the others hear the leader, they grant no pre-vote and take no part
in a later term, unless the leader itself hands over.

Time is counted in the ticks that the replica was told, so a slow clock or a pause
is nobody's fault.
"""

from typing import Final

from chaos.check.violation import Violation
from raftlog.base.ids import NodeId

NAME: Final = "patient_voters"


class PatientVoters:
    """Remembers when each replica last heard its leader."""

    def __init__(self) -> None:
        self._patience: dict[NodeId, int] = {}
        self._silent: dict[NodeId, int] = {}
        """Ticks since each heard its leader; who has none, or doubts it, is not here."""

    def begins(self, node: NodeId, patience: int) -> None:
        """Take in that ``node`` begins, and for how many ticks of silence it trusts a leader."""
        self._patience[node] = patience
        self.doubts(node)

    def hears(self, node: NodeId) -> None:
        """Take in that ``node`` heard the leader of its term."""
        self._silent[node] = 0

    def passes(self, node: NodeId, ticks: int) -> None:
        """Take in that time passed on ``node``."""
        if node in self._silent:
            self._silent[node] += ticks

    def doubts(self, node: NodeId) -> None:
        """Take in that ``node`` has no leader, or was told that it may be gone."""
        self._silent.pop(node, None)

    def helps(self, node: NodeId, candidate: NodeId) -> None:
        """Take in that ``node`` granted a pre-vote, or followed a candidate into its term.

        Raises:
            Violation: It had heard its leader only just now.
        """
        silent = self._silent.get(node)
        if silent is not None and silent < self._patience[node]:
            raise Violation(NAME, f"{node} helps {candidate}, {silent} ticks after its leader")
