"""What the committed log says of an atomic transaction, taken apart for the invariants."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from chaos.check.delayed_delivery import Pending
from chaos.check.producer_sequences import Kept
from chaos.check.settled_together import Ack
from raftlog.base.entry import Entry
from raftlog.base.errors import RaftlogError, Refused, StaleLease
from raftlog.broker.atomic_commands import (
    PartStored,
    TransactionCommitted,
    TransactionHead,
    read_transaction,
)
from raftlog.broker.claims import OffsetsCommitted
from raftlog.broker.places import CommandPlace
from raftlog.wire.batch import Batch

if TYPE_CHECKING:
    from chaos.sim.facts import Facts


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


class AtomicFacts:
    """The transactions of one run.

    Args:
        facts: Of the whole run.
        visible: Told where a batch can be read from now on: queue, base offset, batch.
        group_changed: Told of a command about a group, and its outcome.
    """

    def __init__(
        self,
        facts: "Facts",
        visible: Callable[[int, int, Pending], None],
        group_changed: Callable[[msgspec.Struct, object], None],
    ) -> None:
        self._facts: Final = facts
        self._visible: Final = visible
        self._group_changed: Final = group_changed

    def says(self, entry: Entry, position: int, length: int) -> None:
        """Take in what the producer of a transaction knows, also of a refused one."""
        for part in parts_of(entry, position, length, None)[1]:
            maker = part.batch.header.producer
            self._facts.sequences.says(maker.id, part.queue, maker.epoch, maker.known_through)

    def refused(self, entry: Entry, position: int, length: int, error: RaftlogError) -> None:
        """Take in a transaction that was refused.

        Raises:
            Violation: It need not have been.
        """
        head, parts = parts_of(entry, position, length, None)
        facts = self._facts
        if head is not None and head.staged:
            facts.marks["staged transactions refused"] += 1
            facts.staged.refused(head, parts, error)
        if head is None or not head.acks:
            return
        facts.marks["settlings refused"] += 1
        if isinstance(error, StaleLease):
            facts.marks["settlings refused as stale"] += 1
            acks = _acks_of(head)
            facts.together.refused(acks, [each for each in acks if facts.leases.holds(each)])
            facts.leases.refused_together(acks)

    def carried_out(
        self, entry: Entry, position: int, length: int, outcome: TransactionCommitted
    ) -> None:
        """Take in one that was carried out, part by part.

        Raises:
            Violation: An invariant is broken.
        """
        facts = self._facts
        head, parts = parts_of(entry, position, length, outcome)
        assert head is not None, "what was carried out was read"
        if outcome.duplicate:
            facts.marks["transactions known"] += 1
            facts.marks["settlings known"] += bool(head.acks)
            for part in parts:
                maker = part.batch.header.producer
                if part.queue not in facts.deleted:
                    kept = part.kept(outcome)
                    facts.sequences.answered_again(maker.id, part.queue, maker.epoch, kept)
            return
        facts.marks["transactions"] += 1
        hidden = facts.staged.revealed(head, parts)
        values = [value for part in parts for value in part.values()]
        values += [
            bytes(value)
            for of_queue in hidden.values()
            for batch in of_queue
            for value in Batch(batch.data).value_views()
        ]
        if values and facts.together.is_part(values[0]):
            self._settled(head, values)
        elif head.acks and not parts:
            facts.marks["settlings without records"] += 1
            for ack in head.acks:
                facts.leases.acked_without_records(ack)
        else:
            self._read_and_processed(head, values)
        for part in parts:
            assert part.stored is not None, "a stored transaction has places"
            maker = part.batch.header.producer
            facts.sequences.stored(maker.id, part.queue, maker.epoch, part.kept(outcome))
            count, base = part.stored.count, part.stored.base_offset
            self._reveal(base, hidden.get(part.queue, ()))
            found = Pending(part.queue, 0, 0, count, entry.index, part.position, part.data)
            self._visible(part.queue, base, found)
        for each in head.offsets:
            self._group_changed(each, OffsetsCommitted())

    def _reveal(self, end: int, staged: Sequence[Pending]) -> None:
        """Take in that what was staged for a queue can be read, right before ``end``."""
        base = end - sum(each.count for each in staged)
        for each in staged:
            self._visible(each.queue, base, each)
            base += each.count

    def _settled(self, head: TransactionHead, values: Sequence[bytes]) -> None:
        facts, acks = self._facts, _acks_of(head)
        lost = [each for each in acks if facts.leases.holds(each) is False]
        facts.together.stored(values, acks, lost)
        facts.marks["settlings"] += 1
        facts.marks["settlings of several groups"] += len(head.acks) > 1
        facts.leases.settled_together(acks)

    def _read_and_processed(self, head: TransactionHead, values: Sequence[bytes]) -> None:
        facts = self._facts
        offsets = {
            (each.group, queue): offset for each in head.offsets for queue, offset in each.offsets
        }
        read = next((queue for _, queue in offsets), 0)
        start, _ = facts.bounds(read)
        facts.atomic.stored(values, offsets, facts.groups.committed, start)


def _acks_of(head: TransactionHead) -> list[Ack]:
    return [
        (ack.group, queue, offset, handle)
        for ack in head.acks
        for handle, queue, offsets in ack.names
        for offset in offsets
    ]
