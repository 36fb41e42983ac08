"""Storing batches that are not to be seen yet: what all commands that do so have in common.

A hidden batch of an idempotent producer has its place in the sequence of the queue like any
other, and its outcome is remembered like any other's: sent again, also to another leader, it
gets the first one's id.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, NotPermitted
from raftlog.base.ids import Offset
from raftlog.base.limits import BATCH_RECORDS_MAX
from raftlog.base.message_types import MessageType
from raftlog.broker.hidden import Hidden, HiddenBatch, Holder
from raftlog.broker.message_types import MessageTypes
from raftlog.broker.places import CommandPlace
from raftlog.broker.producers import Producers, RememberedBatch
from raftlog.broker.queues import Queues
from raftlog.wire.batch_header import BATCH_HEADER_BYTES, append_facts


class BatchToHide(msgspec.Struct, frozen=True, gc=False):
    """A batch in the entry that is being applied, as far as its header tells."""

    position: int
    """Of its first byte, in the entry's body."""
    length: int
    count: int
    epoch: int
    producer: int
    sequence: int
    known_through: int
    record_time_ms: int


def batch_at(body: Buffer, position: int, length: int) -> BatchToHide:
    """Return what the machine reads of a batch that was checked before it was proposed.

    Raises:
        BadBatch: There is no batch of that length.
    """
    if length >= BATCH_HEADER_BYTES:
        facts = append_facts(body, position)
        if facts[0] == length and 0 < facts[1] <= BATCH_RECORDS_MAX:
            return BatchToHide(position, *facts)
    raise BadBatch("the command holds no record batch")


class HiddenAppends:
    """Hides batches of one shard's producers."""

    def __init__(
        self, queues: Queues, types: MessageTypes, producers: Producers, hidden: Hidden
    ) -> None:
        self._queues: Final = queues
        self._types: Final = types
        self._producers: Final = producers
        self._hidden: Final = hidden

    def known(self, queue: int, batch: BatchToHide, came: MessageType) -> RememberedBatch | None:
        """Return what became of the batch before; None: it is the next, and may be stored.

        Raises:
            WrongQueue: There is no such queue.
            NotPermitted: It is not writable.
            WrongMessageType: It does not take what came.
            Refused: Or Retriable: what ``Producers`` answers.
            BadBatch: What was stored before under its sequence was visible at once.
        """
        row = self._queues.find(queue)
        told = self._producers.told(
            *(queue, batch.producer, batch.epoch),
            *(batch.sequence, batch.count, batch.known_through),
        )
        if told is not None:
            if not told.hidden_id:
                raise BadBatch(f"sequence {batch.sequence} was not hidden at first")
            return told
        if not row.writable:
            raise NotPermitted(f"topic {row.topic!r} is not writable")
        self._types.check(row, came)
        return None

    def store(
        self,
        place: CommandPlace,
        queue: int,
        batch: BatchToHide,
        holder: Holder,
        held: int,
        log_time_ms: int,
        *,
        due_ms: int = 0,
    ) -> HiddenBatch:
        """Hide a batch that ``known`` let pass; remember its id for its producer.

        Raises:
            Throttled: Too many commands in one entry; nothing was changed.
        """
        row = HiddenBatch(
            *(queue, place.id, place.index, batch.position, batch.length, batch.count),
            *(batch.record_time_ms, holder, held),
        )
        self._hidden.add(row, log_time_ms)
        remembered = RememberedBatch(
            *(batch.sequence, batch.count, Offset(0), place.term, place.index),
            *(row.id, due_ms),
        )
        self._producers.note(queue, batch.producer, batch.epoch, remembered, log_time_ms)
        return row


RawCommand = Callable[[CommandPlace, Buffer, int], object]
"""Carries out a command that holds a batch: its place, the entry's body, its length; returns its
outcome or raises what refuses it."""
