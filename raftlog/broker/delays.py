"""Delayed batches: hidden until a log time, then visible at the end of their queue (ruling 8).

::

    entry 50 (10:00:00.000)   append, in 30 s      --> hidden, due 10:00:30.000; a handle
    entry 51 (10:00:12.500)   cancel by handle     --> dropped, never visible
    entry 99 (10:00:30.002)   what is due is done  --> visible, at the next offset

Never early by the log time, exactly once, across leader changes: an entry's log time alone
decides. Sooner or later is a matter of ``DUE_PER_ENTRY_MAX`` and of the leader's attention.
When is said of the batch as a whole, as a time or as a delay from the entry's own log time.
What is in the past becomes visible with the next entry.

A handle is queue, id and due time. It is answered the same for as long as it may be asked:
who was cancelled is remembered until an hour after it was due. So before that time what is
neither pending nor remembered was delivered if it is due, and else never was.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, BadDelay, LimitReached
from raftlog.base.ids import Index, Term
from raftlog.base.limits import CANCELLED_KNOWN_MS, DELAY_MS_MAX, DELAYED_ROWS_MAX
from raftlog.base.message_types import MessageType
from raftlog.broker.hidden import Hidden, HiddenBatch, HiddenKey, Holder
from raftlog.broker.hiding import HiddenAppends, batch_at
from raftlog.broker.places import CommandPlace
from raftlog.broker.queues import Queues
from raftlog.broker.sorted_keys import SortedKeys, runs_of
from raftlog.broker.table import Table
from raftlog.broker.timetable import NEVER_MS, Timetable
from raftlog.broker.values import Count, QueueNumber

_HEADER: Final = struct.Struct("<IIQ")
DELAYED_HEADER_BYTES: Final = _HEADER.size
"""What lies before the batch in the command: ``queue u32 | relative u32 | milliseconds u64``."""


class Delay(msgspec.Struct, frozen=True, gc=False):
    """When a batch is to become visible."""

    ms: int
    """In log time, as milliseconds since 1970; or from the log time of the entry that has it."""
    relative: bool


class Delayed(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a delayed append; of one that is sent again it is the first one's."""

    id: int
    due_ms: int
    count: int
    term: Term
    index: Index
    duplicate: bool = False


class CancelDelayed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Let a delayed batch never become visible. Outcome: ``CancelEnded``."""

    queue: QueueNumber
    id: Count
    due_ms: Count


class Cancellation(IntEnum):
    """What came of a wish to cancel."""

    CANCELLED = 1
    """It will never be visible: by this command or by an earlier one."""
    DELIVERED = 2
    """It is visible already."""
    UNKNOWN = 3
    """There never was such a batch, or it was due more than an hour ago."""


class CancelEnded(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a cancel."""

    how: Cancellation


class CancelledBatch(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """A delayed batch that was cancelled: for who asks again. A row of state."""

    queue: int
    id: int
    due_ms: int


def delayed_parts(queue: int, delay: Delay, batch: Buffer) -> tuple[Buffer, Buffer]:
    """Return the parts of the command that appends ``batch`` to ``queue`` with a delay."""
    return _HEADER.pack(queue, delay.relative, delay.ms), batch


def read_delayed(body: Buffer, position: int, length: int) -> tuple[int, Delay]:
    """Return the queue and the delay of a command that appends with one.

    Raises:
        BadBatch: It has none.
    """
    if length < DELAYED_HEADER_BYTES:
        raise BadBatch("the command holds no record batch")
    queue, relative, ms = _HEADER.unpack_from(body, position)
    return queue, Delay(ms, bool(relative))


def check_delay(delay: Delay, log_time_ms: int) -> int:
    """Return when a batch is due whose entry has this log time.

    Raises:
        BadDelay: That is too far away.
    """
    due_ms = log_time_ms + delay.ms if delay.relative else delay.ms
    if due_ms - log_time_ms > DELAY_MS_MAX:
        raise BadDelay(
            f"a delay of {(due_ms - log_time_ms) / 86_400_000:.1f} days; it may be "
            f"{DELAY_MS_MAX // 86_400_000} days"
        )
    return max(due_ms, log_time_ms)


# -- behaviour

DueOrder = tuple[int, HiddenKey]
"""When a batch is due, and its key: in the order of these they become visible."""


def _queue_of(order: DueOrder) -> int:
    _, (queue, _) = order
    return queue


class Delays:
    """The delayed batches of one shard, by when they are due. What falls due: delivery."""

    def __init__(
        self, queues: Queues, hidden: Hidden, appends: HiddenAppends, timetable: Timetable
    ) -> None:
        self.due_ms = NEVER_MS
        self.cancelled: Final = CancelledBatches(timetable)
        self.delivered = 0
        """Since this machine was made: not state."""
        self._queues: Final = queues
        self._hidden: Final = hidden
        self._appends: Final = appends
        self._timetable: Final = timetable
        self._order: SortedKeys[DueOrder] = SortedKeys()
        self._count = 0
        self._of_queue: Final[dict[int, int]] = {}
        hidden.tell_of_lost(Holder.TIMER, self._forget)

    def load(self, cancelled: Iterable[CancelledBatch]) -> None:
        """Start from a snapshot whose hidden batches are there: some of them are delayed."""
        mine = self._hidden.held_by(Holder.TIMER)
        self._count = len(mine)
        self._of_queue.clear()
        self._of_queue.update(runs_of(mine, _queue_of))
        self._order = SortedKeys(mine)
        self.cancelled.load(cancelled)
        self._set_due()

    def __len__(self) -> int:
        """Count those that are pending."""
        return self._count

    def pending(self, queue: int) -> int:
        """Count those of one queue."""
        return self._of_queue.get(queue, 0)

    def append(self, place: CommandPlace, body: Buffer, length: int, log_time_ms: int) -> Delayed:
        """Carry out a delayed append.

        Raises:
            Refused: Or Retriable: as any append is refused.
            BadDelay: Too far away.
            LimitReached: Too many are pending.
        """
        queue, delay = read_delayed(body, place.position, length)
        batch = batch_at(
            *(body, place.position + DELAYED_HEADER_BYTES, length - DELAYED_HEADER_BYTES)
        )
        known = self._appends.known(queue, batch, MessageType.DELAYED)
        if known is not None:
            if not known.due_ms:
                raise BadBatch(f"sequence {batch.sequence} was not delayed at first")
            return Delayed(
                *(known.hidden_id, known.due_ms, known.count, known.term, known.index),
                duplicate=True,
            )
        due_ms = check_delay(delay, log_time_ms)
        if self._count + len(self.cancelled) >= DELAYED_ROWS_MAX:
            raise LimitReached(
                f"{self._count} delayed batches are pending and {len(self.cancelled)} were "
                f"cancelled before they were due; together they may be {DELAYED_ROWS_MAX}"
            )
        row = self._appends.store(
            *(place, queue, batch, Holder.TIMER, due_ms, log_time_ms), due_ms=due_ms
        )
        self._order.add((due_ms, row.key))
        self._count += 1
        self._of_queue[queue] = self._of_queue.get(queue, 0) + 1
        if due_ms < self.due_ms:
            self.due_ms = due_ms
            self._timetable.note(due_ms)
        return Delayed(row.id, due_ms, batch.count, place.term, place.index)

    def cancel(self, command: CancelDelayed, log_time_ms: int) -> CancelEnded:
        """Carry out a cancel.

        Raises:
            WrongQueue: There is no such queue.
        """
        self._queues.find(command.queue)
        key = (command.queue, command.id)
        row = self._hidden.get(key)
        if row is not None and (row.holder, row.held) == (Holder.TIMER, command.due_ms):
            self._forget(self._hidden.drop(key))
            self.cancelled.add(CancelledBatch(*key, row.held))
            return CancelEnded(Cancellation.CANCELLED)
        if row is not None:
            return CancelEnded(Cancellation.UNKNOWN)
        known = self.cancelled.table.get(key)
        if known is not None:
            is_same = known.due_ms == command.due_ms
            return CancelEnded(Cancellation.CANCELLED if is_same else Cancellation.UNKNOWN)
        since_ms = log_time_ms - command.due_ms
        if 0 <= since_ms < CANCELLED_KNOWN_MS:
            return CancelEnded(Cancellation.DELIVERED)
        return CancelEnded(Cancellation.UNKNOWN)

    def do_next(self, due_ms: int, log_time_ms: int) -> bool:
        """Deliver the batch that is due first, if it is."""
        order = self._order.first()
        is_due = order is not None and order[0] <= due_ms
        if order is not None and is_due:
            key = order[1]
            row = self._hidden.get(key)
            assert row is not None, f"{key} is due and is not there"
            self._forget(row)
            if self._queues.get(row.queue) is None:
                self._hidden.drop(key)
            else:
                self._hidden.reveal(key, log_time_ms)
                self.delivered += 1
        self._set_due()
        return is_due

    def _forget(self, row: HiddenBatch) -> None:
        self._order.remove((row.held, row.key))
        self._count -= 1
        left = self._of_queue[row.queue] - 1
        if left:
            self._of_queue[row.queue] = left
        else:
            del self._of_queue[row.queue]

    def _set_due(self) -> None:
        order = self._order.first()
        self.due_ms = NEVER_MS if order is None else order[0]

    def soon(
        self, through_ms: int, after: DueOrder | None, count: int
    ) -> tuple[list[HiddenBatch], DueOrder | None]:
        """Return rows that are due up to ``through_ms``, and where to go on.

        ``after`` is None, or what an earlier call returned. At most ``count`` rows are looked at.
        """
        found: list[HiddenBatch] = []
        for order in self._order.after(after):
            if len(found) == count or order[0] > through_ms:
                break
            after = order
            found.append(self._hidden.table.rows[order[1]])
        return found, after


class CancelledBatches:
    """Cancelled batches, until nobody may ask any more. What falls due: to be forgotten."""

    def __init__(self, timetable: Timetable) -> None:
        self.table: Final[Table[tuple[int, int], CancelledBatch]] = Table()
        self.due_ms = NEVER_MS
        self._timetable: Final = timetable
        self._order: SortedKeys[DueOrder] = SortedKeys()

    def __len__(self) -> int:
        """Count them."""
        return len(self.table)

    def load(self, rows: Iterable[CancelledBatch]) -> None:
        """Start from a snapshot."""
        self.table.load(((row.queue, row.id), row) for row in rows)
        self._order = SortedKeys((row.due_ms, key) for key, row in self.table.rows.items())
        self._set_due()

    def add(self, row: CancelledBatch) -> None:
        """Remember one."""
        key = (row.queue, row.id)
        self.table.put(key, row)
        self._order.add((row.due_ms, key))
        self._set_due()
        self._timetable.note(self.due_ms)

    def do_next(self, due_ms: int, _log_time_ms: int) -> bool:
        """Forget who was due first, if that is long ago."""
        order = self._order.first()
        is_due = order is not None and order[0] + CANCELLED_KNOWN_MS <= due_ms
        if order is not None and is_due:
            self._order.remove(order)
            self.table.delete(order[1])
        self._set_due()
        return is_due

    def _set_due(self) -> None:
        order = self._order.first()
        self.due_ms = NEVER_MS if order is None else order[0] + CANCELLED_KNOWN_MS
