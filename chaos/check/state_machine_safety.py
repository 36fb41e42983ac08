"""State-machine safety: one state for each applied index, and each index once, in order."""

from typing import Final

from chaos.check.violation import Violation
from raftlog.base.ids import Index, NodeId

NAME: Final = "state_machine_safety"


class StateMachineSafety:
    """Remembers the state's digest after each index."""

    def __init__(self) -> None:
        self._digests: dict[Index, bytes] = {}
        self._states: dict[Index, str] = {}
        self._applied: dict[NodeId, Index] = {}

    def starts(self, node: NodeId, applied: Index) -> None:
        """Take in that ``node`` starts from the state at ``applied``."""
        self._applied[node] = applied

    def applies(self, node: NodeId, index: Index, committed: Index, digest: bytes) -> None:
        """Take in that ``node`` has applied ``index`` and where that led.

        ``committed`` is the end of what is known to be committed.

        Raises:
            Violation: An index was skipped, repeated, applied before its commit,
                or led elsewhere than on another node.
        """
        before = self._applied[node]
        if index != before + 1:
            raise Violation(NAME, f"{node} applies {index} after {before}")
        if index > committed:
            raise Violation(NAME, f"{node} applies {index}; only {committed} is committed")
        self._applied[node] = index
        known = self._digests.setdefault(index, digest)
        if known != digest:
            raise Violation(NAME, f"{node} has another state at {index} than others had")

    def state(self, node: NodeId, index: Index, digest: str) -> None:
        """Take in the whole state that ``node`` has at ``index``, applied or restored.

        Raises:
            Violation: Another node, or this one before it was restored, had another one.
        """
        known = self._states.setdefault(index, digest)
        if known != digest:
            raise Violation(NAME, f"{node} has state {digest} at {index}, others had {known}")
