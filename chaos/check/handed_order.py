"""A member of a stream group is handed a queue's records one after the other, none is left out.

From its claim of the queue until it loses it: the first record is the one where the group stood
when the queue was claimed, and each follows the one before it, over all batches. What was handed
out comes again only by another claim.
"""

from collections.abc import Hashable
from typing import Final

from chaos.check.violation import Violation

NAME: Final = "handed_order"


class HandedOrder:
    """How far one member has come, in each queue that it owns."""

    def __init__(self) -> None:
        self._next: Final[dict[Hashable, int]] = {}
        """By claim: the offset that is due."""

    def take(self, claim: Hashable, where: str, start: int, offset: int) -> None:
        """Take in that the member was handed this.

        Args:
            claim: In the course of which claim; each is a thing of its own.
            where: The queue and the generation, in words.
            start: Where the group stood; counts with the first record of a claim.
            offset: Of the record.

        Raises:
            Violation: Something was left out, or comes again.
        """
        due = self._next.get(claim, start)
        self._next[claim] = offset + 1
        if offset != due:
            raise Violation(NAME, f"{where}: {offset} was handed out, and {due} was due")
