"""What a producer and a reader get."""

from collections.abc import Iterator

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.ids import Index, Offset, Term
from raftlog.wire.batch import Batch, Record, batch_facts


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """A record is stored: where, and what that promises.

    ``durability`` is ``fsync`` when a majority has it on disk; any other word
    names a weaker promise.
    """

    offset: Offset
    term: Term
    index: Index
    durability: str
    queue: int


class BatchReceipt(msgspec.Struct, frozen=True, gc=False):
    """A batch is stored: its records have the offsets ``base_offset`` and following."""

    base_offset: Offset
    count: int
    term: Term
    index: Index
    durability: str
    queue: int


class StoredBatch(msgspec.Struct, frozen=True, gc=False):
    """A batch as it lies in the log, and the offset of its first record."""

    base_offset: Offset
    data: Buffer

    @property
    def count(self) -> int:
        """Records in it, by its header alone."""
        return batch_facts(self.data)[0]

    def open(self) -> Batch:
        """Check it and reach its columns without a copy.

        Raises:
            BadBatch: It was damaged on the way, or is no batch of this version.
        """
        return Batch(self.data)

    def records(self) -> Iterator[tuple[Offset, Record]]:
        """Yield the records with their offsets; raises as ``open``."""
        for number, record in enumerate(self.open().records()):
            yield Offset(self.base_offset + number), record


class ReadBatches(msgspec.Struct, frozen=True):
    """What a read found: perhaps nothing, if the queue had nothing new in time."""

    batches: tuple[StoredBatch, ...]
    end_offset: Offset
    applied: Index
