"""Atomic transactions: batches, offsets and acknowledgements of one command, all or none.

::

    head length u32 | head (MessagePack): parts (queue, length), offsets, acks | batches

First every check of every part, then every change: a refusal of any part leaves all as it was.
The batches are of idempotent producers, so the command needs no table of its own: if every
batch is known, it is a copy, and gets the first outcome again. Then fences of groups and
leases are not looked at, for they may have moved on since. A transaction without batches is
idempotent by nature: offsets never go back, and an acknowledgement by the last holder repeats.
"""

import struct
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    LimitReached,
    NotPermitted,
    StaleLease,
)
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import PRODUCER_ROWS_MAX
from raftlog.broker.claims import CommitOffsets
from raftlog.broker.hiding import BatchToHide, batch_at
from raftlog.broker.lease_commands import AckMessages
from raftlog.broker.places import CommandPlace
from raftlog.broker.producers import RememberedBatch
from raftlog.broker.state import BrokerState
from raftlog.broker.values import QueueNumber

_LENGTH: Final = struct.Struct("<I")
Part = tuple[QueueNumber, Annotated[int, msgspec.Meta(ge=1, lt=1 << 32)]]


class AtomicHead(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a transaction does: its batches by queue and length, in their order; and the rest."""

    parts: tuple[Part, ...]
    offsets: tuple[CommitOffsets, ...]
    acks: tuple[AckMessages, ...]

    def __post_init__(self) -> None:
        """Refuse what names one thing twice, or nothing: ``BadRequest``."""
        if not (self.parts or self.offsets or self.acks):
            raise BadRequest("a transaction with nothing in it")
        _check_once("queue", [queue for queue, _ in self.parts])
        _check_once(
            "offset of queue",
            [(each.group, queue) for each in self.offsets for queue, _ in each.offsets],
        )
        _check_once(
            "acknowledgement",
            [
                (each.group, queue, offset)
                for each in self.acks
                for _, queue, offsets in each.names
                for offset in offsets
            ],
        )


class AtomicCommitted(msgspec.Struct, frozen=True, gc=False):
    """The outcome: for each batch its queue, the offset of its first record, and how many."""

    parts: tuple[tuple[int, Offset, int], ...]
    term: Term
    index: Index
    duplicate: bool = False


_DECODER: Final = msgspec.msgpack.Decoder(AtomicHead)


def atomic_parts(head: AtomicHead, batches: Buffer) -> tuple[Buffer, ...]:
    """Return the parts of the command.

    Raises:
        BadRequest: A number in it is none that the log may hold.
    """
    data = msgspec.msgpack.encode(head)
    _decoded(data)
    return _LENGTH.pack(len(data)), data, batches


def read_atomic(body: Buffer, position: int, length: int) -> tuple[AtomicHead, int]:
    """Return the head of a command, and where its batches begin.

    Raises:
        BadRequest: It is none.
        BadBatch: The lengths are not those of the batches.
    """
    size = _LENGTH.unpack_from(body, position)[0] if length >= _LENGTH.size else length
    begin = position + _LENGTH.size + size
    if begin > position + length:
        raise BadRequest(f"a head of {size} bytes in a command of {length}")
    head = _decoded(memoryview(body)[position + _LENGTH.size : begin])
    if begin + sum(size for _, size in head.parts) != position + length:
        raise BadBatch("the lengths of the parts are not those of the batches")
    return head, begin


def _decoded(data: Buffer) -> AtomicHead:
    try:
        return _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise BadRequest(f"a transaction's head that does not decode: {error}") from error


class AtomicCommits:
    """Carries out transactions on the state of one shard."""

    def __init__(self, state: BrokerState) -> None:
        self._state: Final = state

    def commit(self, place: CommandPlace, body: Buffer, length: int) -> AtomicCommitted:
        """Do all of it.

        Raises:
            Refused: Nothing of it was done.
            Retriable: Nothing of it was done; it may be later.
        """
        head, begin = read_atomic(body, place.position, length)
        batches = _batches(head, body, begin)
        told = [self._told(queue, batch) for queue, batch in batches]
        known = [each for each in told if each is not None]
        if known:
            return _again(batches, known)
        self._check(head, batches)
        for each in head.offsets:
            self._state.claims.commit(each)
        for ack in head.acks:
            self._state.leasing.ack(ack, self._state.log_time_ms)
        stored = tuple(self._store(place, queue, batch) for queue, batch in batches)
        return AtomicCommitted(stored, place.term, place.index)

    def _told(self, queue: int, batch: BatchToHide) -> RememberedBatch | None:
        """Return what became of a batch before; None: it is the next of its producer."""
        self._state.queues.find(queue)
        if not batch.producer:
            raise BadBatch(
                f"the batch for queue {queue} has no producer: nothing tells its copies"
            )
        told = self._state.producers.told(
            *(queue, batch.producer, batch.epoch),
            *(batch.sequence, batch.count, batch.known_through),
        )
        if told is not None and told.hidden_id:
            raise BadBatch(f"sequence {batch.sequence} was hidden at first")
        return told

    def _check(self, head: AtomicHead, batches: list[tuple[int, BatchToHide]]) -> None:
        state = self._state
        rows = state.producers.table.rows
        news = sum((queue, batch.producer) not in rows for queue, batch in batches)
        if news and len(rows) + news > PRODUCER_ROWS_MAX:
            raise LimitReached(f"{len(rows)} producers write to their queues, and {news} more")
        for queue, _ in batches:
            row = state.queues.find(queue)
            if not row.writable:
                raise NotPermitted(f"topic {row.topic!r} is not writable")
        for each in head.offsets:
            state.claims.check_commit(each)
        for ack in head.acks:
            stale = state.leasing.stale(ack)
            if stale:
                queue, offset = stale[0]
                raise StaleLease(
                    f"message {offset} of queue {queue} is not leased to you any more in group "
                    f"{ack.group!r}"
                )

    def _store(
        self, place: CommandPlace, queue: int, batch: BatchToHide
    ) -> tuple[int, Offset, int]:
        state = self._state
        base = state.queues.extend(state.queues.find(queue), batch.count)
        open_range = state.index.open
        open_range.postings_of(queue).append(
            *(base, batch.count, state.log_time_ms, batch.record_time_ms, place.index),
            *(batch.position, batch.length),
        )
        open_range.count += 1
        state.touched.add(queue)
        remembered = RememberedBatch(batch.sequence, batch.count, base, place.term, place.index)
        state.producers.note(queue, batch.producer, batch.epoch, remembered, state.log_time_ms)
        return queue, base, batch.count


def _batches(head: AtomicHead, body: Buffer, begin: int) -> list[tuple[int, BatchToHide]]:
    batches: list[tuple[int, BatchToHide]] = []
    for queue, length in head.parts:
        batches.append((queue, batch_at(body, begin, length)))
        begin += length
    return batches


def _again(
    batches: list[tuple[int, BatchToHide]], known: list[RememberedBatch]
) -> AtomicCommitted:
    """Return the first outcome of a copy."""
    first = known[0]
    whole = len(known) == len(batches)
    if not whole or any((each.term, each.index) != (first.term, first.index) for each in known):
        raise BadBatch("some batches of the transaction were stored by something else before")
    parts = tuple(
        (queue, told.base_offset, told.count)
        for (queue, _), told in zip(batches, known, strict=True)
    )
    return AtomicCommitted(parts, first.term, first.index, duplicate=True)


def _check_once(what: str, names: Sequence[object]) -> None:
    if len(set(names)) != len(names):
        raise BadRequest(f"the transaction has one {what} twice")
