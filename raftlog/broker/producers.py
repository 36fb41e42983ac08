"""Producers: nothing is stored twice (rulings 9 and 10).

Sequences count records, per producer, epoch and queue. For each (producer,
queue) the machine keeps what became of every batch that the producer has not
yet said it knows, at most 64 of them: a batch that is sent again gets the
first one's answer, also after a failover.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    DuplicateForgotten,
    Fenced,
    LimitReached,
    OutOfOrder,
    RaftlogError,
    Throttled,
    UnknownProducer,
)
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import (
    PRODUCER_FORGOTTEN_MS,
    PRODUCER_ROWS_MAX,
)
from raftlog.broker.table import Table
from raftlog.broker.timetable import NEVER_MS, Timetable
from raftlog.broker.values import QueueNumber

REMEMBERED_MAX: Final = 64
"""Unconfirmed batches of one producer in one queue."""


class InitProducer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Draw a producer id. Outcome: ``ProducerBegun``."""


class FenceProducer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Begin ``epoch`` of a producer in one queue, at sequence 0 (ruling 10).

    From this entry on a late copy of an older epoch is ``Fenced``. The same
    command again has the same outcome. Outcome: ``ProducerFenced``.
    """

    queue: QueueNumber
    producer: Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]
    epoch: Annotated[int, msgspec.Meta(ge=1, lt=1 << 32)]


class RememberedBatch(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False
):
    """A stored batch that its producer may ask for again."""

    base_sequence: int
    count: int
    base_offset: Offset
    term: Term
    index: Index
    hidden_id: int = 0
    """What is known of one that was hidden at first, for it had no offset then; 0: it was not."""
    due_ms: int = 0
    """When such a one was to become visible by itself; 0: somebody had to decide."""


class ProducerBegun(msgspec.Struct, frozen=True, gc=False):
    """The producer's id: unique for ever in its shard, never 0."""

    producer: int


class ProducerFenced(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How far the epoch before had come.

    What is at or after ``next_sequence`` was not stored, and never will be.
    """

    next_sequence: int
    remembered: tuple[RememberedBatch, ...]


# -- behaviour


class ProducerRow(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What is known of one producer in one queue. A row of state."""

    queue: int
    producer: int
    epoch: int
    silent_since_ms: int
    """Log time of what was last heard of it."""
    heard: int
    """Orders rows by when they were last heard of, as log time does, without ties."""
    next_sequence: int = 0
    known_through: int = 0
    remembered: list[RememberedBatch] = msgspec.field(default_factory=list)
    fenced: ProducerFenced | None = None
    """The outcome of the fence that began the epoch, if one did."""


class Producers:
    """The producers of one shard, by queue and producer id. What falls due: to be forgotten."""

    def __init__(self, timetable: Timetable) -> None:
        self.table: Final[Table[tuple[int, int], ProducerRow]] = Table()
        self.heard = 0
        self.due_ms = NEVER_MS
        """Before this log time nobody is due to be forgotten."""
        self._timetable = timetable
        self._silence: Final[OrderedDict[tuple[int, int], None]] = OrderedDict()
        """The keys, longest silent first."""

    def load(self, rows: Iterable[ProducerRow], heard: int) -> None:
        """Start from a snapshot."""
        self.table.load(((row.queue, row.producer), row) for row in rows)
        self.heard = heard
        self._silence.clear()
        for row in sorted(self.table.rows.values(), key=lambda row: row.heard):
            self._silence[row.queue, row.producer] = None
        self.due_ms = 0

    def answer(
        self, row: ProducerRow, epoch: int, sequence: int, count: int, known_through: int
    ) -> RememberedBatch | RaftlogError | None:
        """Say what becomes of a batch of a producer that the queue knows; None: it is the next.

        In the order of the rules: a batch that was stored is told so whatever
        else is wrong by now, or its producer would believe that it was not.
        """
        if epoch != row.epoch:
            if epoch < row.epoch:
                return Fenced(f"epoch {epoch} of producer {row.producer} ended with {row.epoch}")
            return UnknownProducer(
                f"epoch {epoch} of producer {row.producer} was not begun in queue {row.queue}"
            )
        remembered = row.remembered
        if known_through > row.known_through:
            if self.table.frozen is not None:
                self.table.touch((row.queue, row.producer))
            row.known_through = known_through = min(known_through, row.next_sequence)
            known = 0
            for batch in remembered:
                if batch.base_sequence + batch.count > known_through:
                    break
                known += 1
            del remembered[:known]
        if sequence == row.next_sequence:
            if len(remembered) < REMEMBERED_MAX:
                return None
            return Throttled(
                f"producer {row.producer} has {REMEMBERED_MAX} unconfirmed batches in queue "
                f"{row.queue}"
            )
        if sequence > row.next_sequence:
            return OutOfOrder(row.next_sequence)
        for batch in remembered:
            if batch.base_sequence == sequence and batch.count == count:
                return batch
        if sequence + count <= row.known_through:
            return DuplicateForgotten(
                f"sequence {sequence} was stored, and its producer knows up to {row.known_through}"
            )
        return BadBatch(
            f"no batch of {count} records begins at sequence {sequence}; what is sent again must "
            "be the same batches"
        )

    def refusal_of_new(self, sequence: int) -> RaftlogError | None:
        """Say why a batch of a producer that the queue does not know can't be stored, if so."""
        if sequence:
            return UnknownProducer(f"the first batch of a producer has sequence 0, not {sequence}")
        if len(self.table) >= PRODUCER_ROWS_MAX:
            return LimitReached(
                f"{len(self.table)} producers write to their queues; {PRODUCER_ROWS_MAX} may"
            )
        return None

    def begin(self, queue: int, producer: int, epoch: int, log_time_ms: int) -> ProducerRow:
        """Make the row of a producer that the queue does not know."""
        self.heard += 1
        row = ProducerRow(queue, producer, epoch, log_time_ms, self.heard)
        if not self._silence:
            self.due_ms = log_time_ms + PRODUCER_FORGOTTEN_MS
            self._timetable.note(self.due_ms)
        self.table.put((queue, producer), row)
        self._silence[queue, producer] = None
        return row

    def remember(self, row: ProducerRow, batch: RememberedBatch, log_time_ms: int) -> None:
        """Note a batch that ``answer`` let pass and that is stored now."""
        key = (row.queue, row.producer)
        if self.table.frozen is not None:
            self.table.touch(key)
        row.next_sequence += batch.count
        row.remembered.append(batch)
        row.silent_since_ms = log_time_ms
        self.heard = row.heard = self.heard + 1
        self._silence.move_to_end(key)

    def told(
        self, queue: int, producer: int, epoch: int, sequence: int, count: int, known_through: int
    ) -> RememberedBatch | None:
        """Return what was told of a batch; None: it is the next one, or nobody's (0).

        Raises:
            RaftlogError: It may not be stored; as ``answer`` and ``refusal_of_new`` say.
        """
        if not producer:
            return None
        row = self.table.rows.get((queue, producer))
        if row is None:
            answer: RememberedBatch | RaftlogError | None = self.refusal_of_new(sequence)
        else:
            answer = self.answer(row, epoch, sequence, count, known_through)
        if isinstance(answer, RaftlogError):
            raise answer
        return answer

    def note(
        self, queue: int, producer: int, epoch: int, batch: RememberedBatch, log_time_ms: int
    ) -> None:
        """Remember a batch that ``told`` let pass; nobody's (0) is not."""
        if not producer:
            return
        row = self.table.rows.get((queue, producer))
        if row is None:
            row = self.begin(queue, producer, epoch, log_time_ms)
        self.remember(row, batch, log_time_ms)

    def fence(self, command: FenceProducer, log_time_ms: int) -> ProducerFenced:
        """Begin an epoch; the queue is there.

        Raises:
            Fenced: A later epoch has begun.
            BadRequest: The epoch has begun without a fence.
            LimitReached: The producer is not known and there is no room.
        """
        key = (command.queue, command.producer)
        row = self.table.get(key)
        if row is None:
            refusal = self.refusal_of_new(0)
            if refusal is not None:
                raise refusal
            row = self.begin(*key, command.epoch, log_time_ms)
            row.fenced = ProducerFenced(0, ())
            return row.fenced
        if command.epoch < row.epoch:
            raise Fenced(f"epoch {command.epoch} ended with {row.epoch}")
        if command.epoch == row.epoch:
            if row.fenced is None:
                raise BadRequest(f"epoch {command.epoch} goes on already; begin a later one")
            return row.fenced
        self.table.touch(key)
        row.fenced = ProducerFenced(row.next_sequence, tuple(row.remembered))
        row.epoch = command.epoch
        row.next_sequence = row.known_through = 0
        row.remembered = []
        row.silent_since_ms = log_time_ms
        self.heard = row.heard = self.heard + 1
        self._silence.move_to_end(key)
        return row.fenced

    def do_next(self, due_ms: int, _log_time_ms: int) -> bool:
        """Forget who was silent for longest, if that is too long."""
        key = next(iter(self._silence), None)
        is_due = key is not None and self._forgotten_at_ms(key) <= due_ms
        if key is not None and is_due:
            self._forget(key)
            key = next(iter(self._silence), None)
        self.due_ms = NEVER_MS if key is None else self._forgotten_at_ms(key)
        return is_due

    def _forgotten_at_ms(self, key: tuple[int, int]) -> int:
        return self.table.rows[key].silent_since_ms + PRODUCER_FORGOTTEN_MS

    def forget_queue(self, queue: int) -> None:
        """Forget everybody in a queue that was closed."""
        keys = []
        for key in self.table.keys_after((queue, -1)):
            if key[0] != queue:
                break
            keys.append(key)
        for key in keys:
            self._forget(key)

    def _forget(self, key: tuple[int, int]) -> None:
        self.table.delete(key)
        del self._silence[key]
