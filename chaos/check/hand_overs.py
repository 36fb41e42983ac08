"""Cooperative groups: nobody gets a queue before its owner has let go of it.

Told in the order of the log. Whoever claimed a queue has it until it says so itself, or is no
member any more; the next one's claim comes after that.
"""

from collections.abc import Iterable
from typing import Final

from chaos.check.violation import Violation

NAME: Final = "hand_overs"


class HandOvers:
    """Who has which queue of which group."""

    def __init__(self) -> None:
        self.cooperative: set[str] = set()
        """The groups of which this is true."""
        self._owners: dict[tuple[str, int], str] = {}

    def claimed(self, group: str, queue: int, member: str) -> None:
        """Take in that a claim was granted.

        Raises:
            Violation: Another member has not let go of the queue.
        """
        if group not in self.cooperative:
            return
        owner = self._owners.setdefault((group, queue), member)
        if owner != member:
            raise Violation(
                NAME, f"{member} of {group} claims queue {queue}, which {owner} has not released"
            )

    def released(self, group: str, member: str, queues: Iterable[int]) -> None:
        """Take in that a member lets go of queues."""
        for queue in queues:
            if self._owners.get((group, queue)) == member:
                del self._owners[group, queue]

    def left(self, group: str, member: str) -> None:
        """Take in that a member is none any more."""
        owned = [key for key, owner in self._owners.items() if (key[0], owner) == (group, member)]
        for key in owned:
            del self._owners[key]
