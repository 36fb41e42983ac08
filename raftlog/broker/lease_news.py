"""What has happened to leases since somebody asked last: for the leader's service, and no state.

A replica that nobody asks keeps no more of it than it has groups.
"""

from typing import Final


class LeaseNews:
    """Of one shard.

    Attributes:
        is_heard: Whether somebody takes it after each turn of apply; else nobody is told what
            was leased.
    """

    def __init__(self) -> None:
        self.is_heard = False
        self._stirred: Final[dict[str, None]] = {}
        self._leased: Final[list[tuple[str, int]]] = []

    def stir(self, group: str) -> None:
        """A message of a group may have become free."""
        self._stirred[group] = None

    def lease(self, group: str, handle: int) -> None:
        """Something was leased under a handle."""
        if self.is_heard:
            self._leased.append((group, handle))

    def take_stirred(self) -> set[str]:
        """Return the groups in which a message may have become free since the last call."""
        stirred = set(self._stirred)
        self._stirred.clear()
        return stirred

    def take_leased(self) -> list[tuple[str, int]]:
        """Return group and handle of what was leased since the last call, in order."""
        leased = self._leased[:]
        self._leased.clear()
        return leased
