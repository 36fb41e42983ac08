"""Idempotence: one producer's batches in one queue are stored once each, in order (ruling 9).

In every epoch of a (producer, queue) the sequences that were stored count its
records from 0 without a gap; an epoch that a newer one, or its fence, has ended
stores nothing any more. A batch that is answered as a duplicate was stored, and
the answer is the first one's. No two producers have one id.
"""

from typing import Final

import msgspec

from chaos.check.violation import Violation

NAME: Final = "producer_sequences"


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A stored batch of a producer, as the log has it."""

    base_sequence: int
    count: int
    base_offset: int
    term: int
    index: int
    hidden_id: int = 0
    """Of one that was not visible at once, and had no offset then."""
    due_ms: int = 0


class Row:
    """One (producer, queue) in its newest epoch."""

    __slots__ = ("epoch", "kept", "known_through", "next")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.next = 0
        self.known_through = 0
        self.kept: dict[int, Kept] = {}
        """By base sequence: everything that this epoch stored."""


class ProducerSequences:
    """All that producers have stored."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], Row] = {}
        self._ids: set[int] = set()

    def begun(self, producer: int) -> None:
        """Take in that somebody was given an id.

        Raises:
            Violation: Somebody else has it.
        """
        if producer in self._ids:
            raise Violation(NAME, f"producer {producer:#x} is given to two")
        self._ids.add(producer)

    def says(self, producer: int, queue: int, epoch: int, known_through: int) -> None:
        """Take in that a producer knows what became of everything before ``known_through``.

        It says so with every batch, also with one that is refused.
        """
        row = self.rows.get((producer, queue))
        if row is not None and row.epoch == epoch:
            row.known_through = max(row.known_through, min(known_through, row.next))

    def is_next(self, producer: int, queue: int, epoch: int, sequence: int) -> bool:
        """Whether no batch of this sequence or a later one was stored, or counts as stored."""
        row = self.rows.get((producer, queue))
        return row is None or row.epoch != epoch or sequence >= row.next

    def stored(self, producer: int, queue: int, epoch: int, batch: Kept) -> None:
        """Take in that a batch of ``producer`` got offsets of its own.

        Raises:
            Violation: Its epoch had ended, or it does not follow the one before it.
        """
        row = self.rows.get((producer, queue))
        who = f"producer {producer:#x} in queue {queue}, epoch {epoch}"
        if row is None or epoch > row.epoch:
            if row is not None:
                raise Violation(NAME, f"{who}: stored without a fence of {row.epoch}")
            row = self.rows[producer, queue] = Row(epoch)
        if epoch < row.epoch:
            raise Violation(NAME, f"{who}: stored after epoch {row.epoch} had begun")
        if batch.base_sequence != row.next:
            raise Violation(
                NAME, f"{who}: sequence {batch.base_sequence} is stored, {row.next} was next"
            )
        row.next += batch.count
        row.kept[batch.base_sequence] = batch

    def answered_again(self, producer: int, queue: int, epoch: int, batch: Kept) -> None:
        """Take in that a batch was answered as a duplicate.

        Raises:
            Violation: There is no such batch, or the answer is not the first one's.
        """
        row = self.rows.get((producer, queue))
        first = row.kept.get(batch.base_sequence) if row and row.epoch == epoch else None
        if first != batch:
            raise Violation(
                NAME,
                f"producer {producer:#x} in queue {queue}, epoch {epoch}: a duplicate is "
                f"answered {batch}, stored was {first}",
            )
