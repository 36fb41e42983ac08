"""What the committed log says of an atomic transaction, taken apart for the invariants."""

from collections.abc import Iterator

import msgspec

from chaos.check.producer_sequences import Kept
from raftlog.base.entry import Entry
from raftlog.base.errors import Refused
from raftlog.broker.atomic_commands import (
    PartStored,
    TransactionCommitted,
    TransactionHead,
    read_transaction,
)
from raftlog.broker.places import CommandPlace
from raftlog.wire.batch import Batch


class Part(msgspec.Struct, frozen=True):
    """One batch of a transaction: as it was sent, and where it is."""

    queue: int
    position: int
    """Of its first byte, in the entry's body."""
    data: bytes
    stored: PartStored | None
    """None: the transaction was refused."""

    @property
    def batch(self) -> Batch:
        """The batch."""
        return Batch(self.data)

    def kept(self, outcome: TransactionCommitted) -> Kept:
        """Return what its producer is told of it from now on."""
        assert self.stored is not None, "a refused part is nowhere"
        return Kept(
            *(self.batch.header.producer.base_sequence, self.stored.count),
            *(self.stored.base_offset, outcome.term, outcome.index),
        )

    def values(self) -> Iterator[bytes]:
        """Iterate over the values of its records."""
        return map(bytes, self.batch.value_views())


def parts_of(
    entry: Entry, position: int, length: int, outcome: object
) -> tuple[TransactionHead | None, list[Part]]:
    """Return the head and the parts of a command; none of what is no transaction."""
    place = CommandPlace(entry.index, entry.term, 0, position)
    try:
        head, batches = read_transaction(entry.body, place, length)
    except Refused:
        return None, []
    stored: tuple[PartStored | None, ...] = (None,) * len(batches)
    if isinstance(outcome, TransactionCommitted):
        stored = outcome.parts
    parts = []
    for (queue, _), batch, told in zip(head.parts, batches, stored, strict=True):
        assert told is None or (told.queue, told.count) == (queue, batch.count), f"{told}"
        data = bytes(entry.body[batch.position : batch.position + batch.length])
        parts.append(Part(queue, batch.position, data, told))
    return head, parts
