"""What replicas write from equal state is equal: sealed ranges and snapshots, byte by byte.

Equal names stand for equal content (ruling 27): a range file is named by its
first index, a snapshot by the index that it describes. The same holds for one
replica before and after a restart.
"""

from collections.abc import Mapping
from typing import Final

from chaos.check.violation import Violation
from raftlog.base.ids import NodeId

NAME: Final = "same_files"


class SameFiles:
    """The content that was seen under each name."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[NodeId, bytes]] = {}

    def found(self, node: NodeId, files: Mapping[str, bytes]) -> None:
        """Take in the good files of a node, by name.

        Raises:
            Violation: Another node, or an earlier look, had other bytes under a name.
        """
        for name, content in files.items():
            first, known = self._seen.setdefault(name, (node, content))
            if known != content:
                raise Violation(NAME, f"{name} has other bytes on {node} than on {first}")
