"""No member is given what its binary can't apply, and a shard's level never falls (ruling 15).

A node that is given an entry of a higher level stops, and stays stopped until somebody installs
another version: one such entry, and a rolling restart has taken the shard's majority away.
"""

from typing import Final

from chaos.check.violation import Violation
from raftlog.base.ids import Index, NodeId

NAME: Final = "feature_levels"


class FeatureLevels:
    """The levels of one shard, as its replicas apply them."""

    def __init__(self) -> None:
        self._level_at: dict[Index, int] = {}

    def applies(self, node: NodeId, index: Index, level: int, own: int) -> None:
        """Take in that ``node``, which can apply ``own``, is at ``level`` after entry ``index``.

        Raises:
            Violation: That is more than it can, or another replica was at another level there.
        """
        if level > own:
            raise Violation(NAME, f"{node} can apply {own}, and entry {index} brings {level}")
        if not level:
            return  # no command came yet
        known = self._level_at.setdefault(index, level)
        if known != level:
            raise Violation(
                NAME, f"{node} is at {level} after {index}; another one was at {known}"
            )
        before = self._level_at.get(Index(index - 1), 0)
        if level < before:
            raise Violation(NAME, f"entry {index} lowers the level from {before} to {level}")
