"""Which version each node runs: the one before at first, this one after some restart (ruling 15).

A rolling restart into a new version, in no order at all. The one before applies by the rules of
its level, as this one does while the shard is at that level, and can apply nothing higher.
"""

from collections import Counter
from typing import Final

from chaos.check.feature_levels import FeatureLevels
from chaos.sim.events import stream
from chaos.sim.states import Binary
from chaos.sim.swarm import SeedConfig
from raftlog.base.ids import Index, NodeId, ReplicaId
from raftlog.broker.commands import FEATURE_LEVEL

OLD: Final = FEATURE_LEVEL - 1
UPGRADED_SHARE: Final = 0.5
"""Restarts with which a node gets this version."""


class Binaries:
    """The versions of one run's nodes. Old ones and raised levels are counted in ``marks``."""

    def __init__(self, config: SeedConfig, marks: Counter[str]) -> None:
        self._random: Final = stream(config.seed, "binaries")
        self._first: Final = OLD if config.old_binaries else FEATURE_LEVEL
        self._marks: Final = marks
        self._levels: Final = FeatureLevels()
        self._of_node: Final[dict[NodeId, int]] = {}
        self._said: Final[dict[ReplicaId, int]] = {}

    def begin(self, replica: ReplicaId) -> Binary:
        """A process of ``replica`` begins; return its version."""
        node = replica.node
        own = self._of_node.get(node, self._first)
        if node in self._of_node and self._random.random() < UPGRADED_SHARE:
            own = FEATURE_LEVEL
        self._of_node[node] = self._said[replica] = own
        if own < FEATURE_LEVEL:
            self._marks["older versions"] += 1

        def applies(index: Index, level: int, own: int) -> None:
            self._levels.applies(node, index, level, own)
            if level > self._first:
                self._marks["levels raised"] += 1

        return Binary(own, lambda other: self._said.get(other, 0), applies)
