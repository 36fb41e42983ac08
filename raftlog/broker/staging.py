"""Staged batches: hidden parts of a transaction that is too large for one entry (ruling 19).

::

    entry 50   stage: a batch of invoices  --> hidden, dropped at 10:15:00 if nobody has named it
    entry 51   stage: another one          --> hidden, behind it
    entry 60   commit { staged: both, invoices: the last batch, offsets of "billing": 10 }
                                           --> both revealed, the last one stored: at one index
    10:15:00                               --> nothing; had entry 60 not come, both are dropped

Nobody asks after a staged batch: only the commit of its own producer can reveal it. So who does
not commit needs to say nothing, and what it has staged goes by time.

What belongs together is told by the producer's row: a commit names the last batches that its
producer has hidden in the queue, all of one epoch, with nothing between or behind them.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, LimitReached, TransactionExpired, TransactionTooLarge
from raftlog.base.ids import Index, Term
from raftlog.base.limits import STAGED_MS_MAX, STAGED_ROWS_MAX, TRANSACTION_BYTES_MAX
from raftlog.base.message_types import MessageType
from raftlog.broker.appends import APPEND_HEADER_BYTES, append_parts
from raftlog.broker.commands import STAGED_LEVEL, Command, CommandType
from raftlog.broker.hidden import Hidden, HiddenBatch, HiddenKey, Holder
from raftlog.broker.hiding import HiddenAppends, batch_at
from raftlog.broker.places import CommandPlace
from raftlog.broker.producers import Producers
from raftlog.broker.queues import Queues
from raftlog.broker.sorted_keys import SortedKeys
from raftlog.broker.timetable import NEVER_MS, Timetable


class BatchStaged(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a stage command; of one that is sent again it is the first one's."""

    id: int
    """By which the commit names it."""
    count: int
    term: Term
    index: Index
    duplicate: bool = False


def stage_command(queue: int, batch: Buffer) -> Command:
    """Return the command that stages ``batch`` for ``queue``."""
    return Command(CommandType.STAGE_BATCH, append_parts(queue, batch))


def check_staged_level(level: int) -> None:
    """Refuse what an older member can't read.

    Raises:
        TransactionTooLarge: The level is below ``STAGED_LEVEL``.
    """
    if level < STAGED_LEVEL:
        raise TransactionTooLarge(
            f"a transaction of more than {TRANSACTION_BYTES_MAX:,} bytes needs feature level "
            f"{STAGED_LEVEL} of the cluster, which is at {level}: a member has an older version, "
            "or is away"
        )


# -- behaviour


class Staging:
    """The staged batches of one shard, by when they go. What falls due: they are dropped."""

    def __init__(
        self,
        queues: Queues,
        producers: Producers,
        hidden: Hidden,
        appends: HiddenAppends,
        timetable: Timetable,
    ) -> None:
        self.due_ms = NEVER_MS
        self.dropped = 0
        """By time, since this machine was made: not state."""
        self._queues: Final = queues
        self._producers: Final = producers
        self._hidden: Final = hidden
        self._appends: Final = appends
        self._timetable: Final = timetable
        self._order: SortedKeys[tuple[int, HiddenKey]] = SortedKeys()
        self._count = 0
        hidden.tell_of_lost(Holder.STAGED, self._forget)

    def load(self) -> None:
        """Start from a snapshot whose hidden batches are there: some of them are staged."""
        mine = self._hidden.held_by(Holder.STAGED)
        self._order = SortedKeys(mine)
        self._count = len(mine)
        self._set_due()

    def __len__(self) -> int:
        """Count them."""
        return self._count

    def stage(
        self, place: CommandPlace, body: Buffer, length: int, log_time_ms: int
    ) -> BatchStaged:
        """Carry out a stage command: its queue, and one record batch.

        Raises:
            Refused: Or Retriable: as any append is refused.
            BadBatch: It has no producer, or its sequence was stored in another way.
            LimitReached: Too many are staged.
        """
        if length < APPEND_HEADER_BYTES:
            raise BadBatch("the command holds no record batch")
        begin = place.position + APPEND_HEADER_BYTES
        queue = int.from_bytes(body[place.position : begin], "little")
        batch = batch_at(body, begin, length - APPEND_HEADER_BYTES)
        if not batch.producer:
            raise BadBatch("a staged batch has a producer, which commits it")
        known = self._appends.known(queue, batch, MessageType.TRANSACTIONAL)
        if known is not None:
            if known.due_ms:
                raise BadBatch(f"sequence {batch.sequence} was delayed at first")
            return BatchStaged(
                *(known.hidden_id, known.count, known.term, known.index), duplicate=True
            )
        if self._count >= STAGED_ROWS_MAX:
            raise LimitReached(
                f"{self._count} batches of transactions are staged; {STAGED_ROWS_MAX} may be"
            )
        due_ms = log_time_ms + STAGED_MS_MAX
        row = self._appends.store(place, queue, batch, Holder.STAGED, due_ms, log_time_ms)
        self._order.add((due_ms, row.key))
        self._count += 1
        if due_ms < self.due_ms:
            self.due_ms = due_ms
            self._timetable.note(due_ms)
        return BatchStaged(row.id, batch.count, place.term, place.index)

    def check(self, queue: int, producer: int, ids: Sequence[int]) -> None:
        """Refuse what a producer can't commit: these are not what it has staged last in a queue.

        Raises:
            TransactionExpired: One of them was dropped, was committed or is somebody else's; or
                something was left out between them.
        """
        row = self._producers.table.rows.get((queue, producer))
        last = () if row is None else row.remembered[-len(ids) :]
        is_whole = [each.hidden_id for each in last] == list(ids)
        if not is_whole or not all(self._is_staged((queue, each)) for each in ids):
            raise TransactionExpired(
                f"a part of the transaction that was staged for queue {queue} is not there (any "
                "more); nothing of it was committed"
            )

    def _is_staged(self, key: HiddenKey) -> bool:
        row = self._hidden.get(key)
        return row is not None and row.holder == Holder.STAGED

    def reveal(self, key: HiddenKey, log_time_ms: int) -> None:
        """Make a batch visible that ``check`` has let pass, in a queue that is there."""
        row = self._hidden.get(key)
        assert row is not None, f"{key} is staged no more"
        self._forget(row)
        self._hidden.reveal(key, log_time_ms)
        self._set_due()

    def do_next(self, due_ms: int, _log_time_ms: int) -> bool:
        """Drop the batch whose time is over, if there is one."""
        order = self._order.first()
        is_due = order is not None and order[0] <= due_ms
        if order is not None and is_due:
            self._forget(self._hidden.drop(order[1]))
            self.dropped += 1
        self._set_due()
        return is_due

    def _forget(self, row: HiddenBatch) -> None:
        self._order.remove((row.held, row.key))
        self._count -= 1

    def _set_due(self) -> None:
        order = self._order.first()
        self.due_ms = NEVER_MS if order is None else order[0]
