"""Atomic transactions: batches, offsets and acks that are applied together or not at all.

::

    read orders[7..9] -> commit { invoices: batch, ledger: batch, offsets of "billing": 10 }
        all of it can be done  -->  all of it is, at one log index
        one thing can't be     -->  nothing is, and the refusal is that thing's
        the batches are known  -->  the first outcome again, whatever else has changed since

First everything is looked at, then everything is done: nothing that is done can fail. The
producer's sequences tell a transaction that is sent again (ruling 9), so it needs no row of
its own; for that its batches have been stored together, or none has.

What is more than an entry takes was staged before (``broker.staging``): all but the last batch
of each queue. Those are revealed here, right before that one. A copy is known by the last ones,
before anybody looks for what was staged: that is not there any more.

What is stored depends on what was read, so that must still be as it was. Each message that is
acknowledged beside a batch is held under its handle now: that it *may* have been finished under
it, which is enough for an acknowledgement of its own, would let a late copy store its batches
when nobody knows any more who finished the message. And offsets say from where they were read
(``broker.claims``): that the member still owns the queue, which is enough for a commit of its
own, would let it store what it made of a record twice, when it has read that twice.
"""

from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    LimitReached,
    NotPermitted,
    RaftlogError,
    StaleLease,
    WrongQueue,
)
from raftlog.base.ids import Offset
from raftlog.base.limits import PRODUCER_ROWS_MAX, TRANSACTION_GROUPS_MAX
from raftlog.base.message_types import MessageType
from raftlog.broker.atomic_commands import (
    GONE,
    PartStored,
    TransactionCommitted,
    TransactionHead,
    read_transaction,
)
from raftlog.broker.claims import check_level
from raftlog.broker.commands import ACKS_ONCE_LEVEL, READ_FROM_LEVEL
from raftlog.broker.hiding import BatchToHide
from raftlog.broker.places import CommandPlace
from raftlog.broker.producers import RememberedBatch
from raftlog.broker.queues import Queue
from raftlog.broker.staging import check_staged_level
from raftlog.broker.state import BrokerState

_Told = list[RememberedBatch | None]
_Staged = dict[int, list[int]]
"""The ids of what was staged for each queue."""


class AtomicTransactions:
    """Commits transactions on the state of one shard."""

    def __init__(self, state: BrokerState) -> None:
        self._state: Final = state

    def commit(self, place: CommandPlace, body: Buffer, length: int) -> TransactionCommitted:
        """Do all that a transaction says.

        Raises:
            WrongQueue, NotPermitted, WrongMessageType: A queue is not there, or takes nothing, or
                no messages of transactions.
            BadBatch: A batch has no producer; or only some of them were stored before.
            Refused: Or Retriable: as a send of one of its batches is, a commit of one of its
                offsets, or an ack. Nothing was done.
            StaleLease: One of its messages is not held under its handle any more.
            TransactionExpired: A batch that was staged for it is not there any more.
            TransactionTooLarge: It names staged batches, and the feature level is too low.
        """
        head, batches = read_transaction(body, place, length)
        if head.staged:
            check_staged_level(self._state.feature_level)
        told = self._told(head, batches)
        if any(told):
            return _again(head, batches, told)
        queues = self._check_parts(head, batches)
        state = self._state
        staged = self._check_staged(head, batches)
        if len(head.offsets) > TRANSACTION_GROUPS_MAX and state.feature_level < READ_FROM_LEVEL:
            raise BadRequest(
                f"{len(head.offsets)} commits of offsets; at feature level {state.feature_level} "
                f"{TRANSACTION_GROUPS_MAX} at once at most"
            )
        for offsets in head.offsets:
            check_level(state.feature_level, offsets)
            state.claims.check_commit(offsets)
        once = bool(batches) and state.feature_level >= ACKS_ONCE_LEVEL
        for ack in head.acks:
            stale = state.leasing.check_ack(ack, once=once)
            if stale:
                queue, offset, _ = stale[0]
                raise StaleLease(
                    f"message {offset} of queue {queue} is not leased to you (any more) in group "
                    f"{ack.group!r}: {len(stale)} of the transaction's are not"
                )
        parts = tuple(
            PartStored(queue.number, self._store(place, queue, batch, staged), batch.count)
            for queue, batch in zip(queues, batches, strict=True)
        )
        for offsets in head.offsets:
            state.claims.commit(offsets)
        for ack in head.acks:
            state.leasing.ack(ack, state.log_time_ms)
        return TransactionCommitted(parts, place.term, place.index)

    def _told(self, head: TransactionHead, batches: list[BatchToHide]) -> _Told:
        """Return what each batch was told before, as far as its queue is still there.

        All of them are looked at, whatever the first one is told: each says what its producer
        knows.
        """
        told: _Told = []
        refusals: list[RaftlogError] = []
        for (number, _), batch in zip(head.parts, batches, strict=True):
            if not batch.producer:
                raise BadBatch("a batch of a transaction has a producer, which knows it again")
            before = None
            if self._state.queues.get(number) is not None:
                try:
                    before = self._state.producers.told(
                        *(number, batch.producer, batch.epoch),
                        *(batch.sequence, batch.count, batch.known_through),
                    )
                except RaftlogError as error:
                    refusals.append(error)
            told.append(before)
        if refusals:
            raise refusals[0]
        is_known = any(told)
        for (number, _), batch, before in zip(head.parts, batches, told, strict=True):
            if before is not None and before.hidden_id:
                raise BadBatch(f"sequence {batch.sequence} was hidden at first")
            if before is None and is_known and self._state.queues.get(number) is not None:
                raise BadBatch("some of the transaction's batches were stored before, not all")
        return told

    def _check_parts(self, head: TransactionHead, batches: list[BatchToHide]) -> list[Queue]:
        """Return the queues: each takes its batch."""
        state = self._state
        queues = []
        for number, _ in head.parts:
            queue = state.queues.get(number)
            if queue is None:
                raise WrongQueue(f"there is no queue {number}")
            if not queue.writable:
                raise NotPermitted(f"topic {queue.topic!r} is not writable")
            state.types.check(queue, MessageType.TRANSACTIONAL)
            queues.append(queue)
        rows = state.producers.table.rows
        new = sum(
            (queue.number, batch.producer) not in rows
            for queue, batch in zip(queues, batches, strict=True)
        )
        if len(rows) + new > PRODUCER_ROWS_MAX:
            raise LimitReached(
                f"{len(rows)} producers write to their queues; {PRODUCER_ROWS_MAX} may"
            )
        return queues

    def _check_staged(self, head: TransactionHead, batches: list[BatchToHide]) -> _Staged:
        """Return what is staged for each queue: all of it is there."""
        staged: _Staged = {number: [] for number, _ in head.parts}
        for number, id_ in head.staged:
            staged[number].append(id_)
        for (number, _), batch in zip(head.parts, batches, strict=True):
            if staged[number]:
                self._state.staging.check(number, batch.producer, staged[number])
        return staged

    def _store(
        self, place: CommandPlace, queue: Queue, batch: BatchToHide, staged: _Staged
    ) -> Offset:
        state = self._state
        for id_ in staged[queue.number]:
            state.staging.reveal((queue.number, id_), state.log_time_ms)
        base = state.store(
            *(queue, batch.count, batch.record_time_ms),
            (place.index, batch.position, batch.length),
        )
        remembered = RememberedBatch(batch.sequence, batch.count, base, place.term, place.index)
        state.producers.note(
            *(queue.number, batch.producer, batch.epoch, remembered, state.log_time_ms)
        )
        return base


def _again(head: TransactionHead, batches: list[BatchToHide], told: _Told) -> TransactionCommitted:
    """Return the first outcome of a transaction that is sent again."""
    first = next(before for before in told if before is not None)
    parts = tuple(
        PartStored(number, GONE if before is None else before.base_offset, batch.count)
        for (number, _), batch, before in zip(head.parts, batches, told, strict=True)
    )
    return TransactionCommitted(parts, first.term, first.index, duplicate=True)
