"""One queue as a broker keeps it for its producers: the rules of rulings 9 and 10, and no more.

Small enough to be seen to be right. The tests of the sequencing hold the client
against it.
"""

from typing import Final

from raftlog.base.errors import (
    BadBatch,
    DuplicateForgotten,
    Fenced,
    OutOfOrder,
    RaftlogError,
    Throttled,
    UnknownProducer,
)
from raftlog.base.ids import Index, Offset, Term
from raftlog.client.sequencing import Remembered, Stored
from raftlog.wire.batch import Producer

REMEMBERED_MAX: Final = 64


class Row:
    """What is known of one producer."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.next = 0
        self.known_through = 0
        self.remembered: dict[int, Remembered] = {}
        self.before: tuple[int, tuple[Remembered, ...]] = (0, ())
        """What the last fence answered."""


class ModelQueue:
    """The stored batches of one queue, and the rows of its producers."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int, bytes]] = []
        """Base offset, count, content."""
        self.end = 0
        self.index = 0
        self.term = 1
        self.rows: dict[int, Row] = {}

    def append(self, producer: Producer, count: int, content: bytes) -> Stored | RaftlogError:
        """Store a batch, or say why not."""
        if not producer.id:
            return self._store(count, content)
        row = self.rows.get(producer.id)
        if row is None:
            if producer.base_sequence:
                return UnknownProducer("no row")
            row = self.rows[producer.id] = Row(producer.epoch)
        if producer.epoch < row.epoch:
            return Fenced(f"epoch {row.epoch} has begun")
        if producer.epoch > row.epoch:
            return UnknownProducer(f"epoch {row.epoch} is the newest")
        refusal = self._placed(row, producer, count)
        if refusal is not None:
            return refusal
        row.known_through = max(row.known_through, producer.known_through)
        for sequence in [each for each in row.remembered if each < row.known_through]:
            del row.remembered[sequence]
        if len(row.remembered) >= REMEMBERED_MAX:
            return Throttled("64 batches are remembered", 0.0)
        stored = self._store(count, content)
        row.remembered[row.next] = Remembered(row.next, count, stored)
        row.next += count
        return stored

    @staticmethod
    def _placed(row: Row, producer: Producer, count: int) -> Stored | RaftlogError | None:
        """Answer a batch that is not the next one."""
        sequence = producer.base_sequence
        if sequence > row.next:
            return OutOfOrder(row.next)
        if sequence == row.next:
            return None
        found = row.remembered.get(sequence)
        if found is not None and found.count == count:
            first = found.stored
            return Stored(first.base_offset, first.term, first.index, "fsync", duplicate=True)
        if sequence < row.known_through:
            return DuplicateForgotten("you said that you know it")
        return BadBatch("another batch is there")

    def _store(self, count: int, content: bytes) -> Stored:
        self.index += 1
        stored = Stored(Offset(self.end), Term(self.term), Index(self.index), "fsync")
        self.batches.append((self.end, count, content))
        self.end += count
        return stored

    def fence(
        self, producer: int, epoch: int
    ) -> tuple[int, tuple[Remembered, ...]] | RaftlogError:
        """Begin an epoch; return how far the one before had come."""
        row = self.rows.get(producer)
        if row is None:
            row = self.rows[producer] = Row(epoch)
            return row.before
        if epoch < row.epoch:
            return Fenced(f"epoch {row.epoch} has begun")
        if epoch > row.epoch:
            row.before = row.next, tuple(row.remembered.values())
            row.epoch, row.next, row.known_through, row.remembered = epoch, 0, 0, {}
        return row.before
