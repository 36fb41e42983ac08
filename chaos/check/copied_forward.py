"""What is copied forward is what a queue has next, whole and unchanged, and stays readable.

The observer goes by the log alone. A copy counts if it is of the batch in which the queue begins,
of the one behind the last copy, or of a copy that is there still; and if it was read where the
batch lies. Whatever counts lies where the copy does from then on: what trims may take, what an
index says and what a reader gets is compared with that (``trims_true``, ``index_projection``,
``queue_reads``).
"""

from typing import Final

from chaos.check.queue_reads import QueueReads, StoredBatch
from chaos.check.violation import Violation

NAME: Final = "copied_forward"


class CopiesForward:
    """The copies in the committed log."""

    def __init__(self, reads: QueueReads) -> None:
        self._reads: Final = reads
        self._through: Final[dict[int, int]] = {}
        self.again = 0
        """Copies of copies."""

    def copied(self, queue: int, start: int, copy: StoredBatch, place: tuple[int, int]) -> bool:
        """Take in a copy; return whether it counts.

        Args:
            queue: One that is there.
            start: Where it begins.
            copy: As the command says, with the bytes that it has, and where they were read.
            place: Where those lie: entry, and position in its body.

        Raises:
            Violation: The batch is another one.
        """
        through = self._through.get(queue, 0)
        if through <= start:
            through = 0  # the start has taken all copies with it
        is_next = copy.base_offset == through if through else copy.base_offset <= start
        is_again = copy.base_offset < through
        if copy.end_offset <= start or not (is_next or is_again):
            return False
        if not self._reads.copied(queue, copy, place):
            return False
        self.again += is_again
        self._through[queue] = max(through, copy.end_offset)
        return True

    def told(self, expected: int, copied: int) -> None:
        """Compare with what the machine says of one command.

        Raises:
            Violation: It is something else.
        """
        if expected != copied:
            raise Violation(NAME, f"{copied} batches were copied forward, not {expected}")
