"""A fence tells the truth about the epoch before it, and ends it (ruling 10).

What it names as remembered was stored, at those offsets; what was stored and
its producer may not know yet is named; nothing at or after ``next_sequence`` was
stored. That nothing of the old epoch is stored later is ``producer_sequences``'
business: a fence begins the new epoch there.
"""

from collections.abc import Sequence
from typing import Final

from chaos.check.producer_sequences import Kept, ProducerSequences, Row
from chaos.check.violation import Violation

NAME: Final = "fences_true"


class Fences:
    """Answers of fences, against what producers have stored."""

    def __init__(self, sequences: ProducerSequences) -> None:
        self._sequences = sequences
        self._answers: dict[tuple[int, int, int], tuple[int, tuple[Kept, ...]]] = {}

    def fenced(
        self,
        producer: int,
        queue: int,
        epoch: int,
        next_sequence: int,
        remembered: Sequence[Kept],
    ) -> None:
        """Take in the outcome of a fence, also of one that was committed again.

        Raises:
            Violation: The epoch before was another, or the same fence was answered otherwise.
        """
        rows = self._sequences.rows
        row = rows.get((producer, queue))
        who = f"fence of producer {producer:#x} in queue {queue} to epoch {epoch}"
        answer = (next_sequence, tuple(remembered))
        if row is not None and epoch < row.epoch:
            raise Violation(NAME, f"{who}: epoch {row.epoch} had begun before")
        known = self._answers.get((producer, queue, epoch))
        if row is not None and epoch == row.epoch and known is not None:
            if known != answer:
                raise Violation(NAME, f"{who}: answered {known}, and again {answer}")
            return
        before = row if row is not None else Row(0)
        if row is not None and epoch == row.epoch:
            before = Row(epoch)  # the epoch began with its first batch: nothing was before it
        _compare(who, before, next_sequence, remembered)
        if row is None or epoch > row.epoch:
            rows[producer, queue] = Row(epoch)
        self._answers[producer, queue, epoch] = answer


def _compare(who: str, before: Row, next_sequence: int, remembered: Sequence[Kept]) -> None:
    if next_sequence != before.next:
        raise Violation(NAME, f"{who}: says {next_sequence}, stored was up to {before.next}")
    expected = [
        batch
        for batch in before.kept.values()
        if batch.base_sequence + batch.count > before.known_through
    ]
    named = {batch.base_sequence: batch for batch in remembered}
    for batch in expected:
        if named.pop(batch.base_sequence, None) != batch:
            raise Violation(NAME, f"{who}: does not name {batch}")
    if named:
        raise Violation(NAME, f"{who}: names {list(named.values())}, which it may not remember")
