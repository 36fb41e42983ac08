"""Decided transactions: so that whoever asks again gets the first answer.

A row is kept for ten minutes of log time, and at most so many are kept. Then its number joins
the finished ones of its transactor: how it was decided is forgotten, that it was is not.
No client has to say that it has its answer.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

import msgspec

from raftlog.base.errors import TransactionDecided
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import DECISIONS_KNOWN_MS, DECISIONS_MAX
from raftlog.broker.finished_numbers import finish
from raftlog.broker.sorted_keys import SortedKeys
from raftlog.broker.table import Table
from raftlog.broker.timetable import NEVER_MS, Timetable
from raftlog.broker.transactors import Transactors, number_of

_HANDLE_BITS: Final = 64


class Decision(IntEnum):
    """What became of a transaction."""

    COMMITTED = 1
    ROLLED_BACK = 2
    LOST = 3
    """Its topic was deleted before it was decided."""


class DecidedRow(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """A row of state: only ``Decisions`` makes and forgets it."""

    handle: int
    decision: int
    decided_ms: int
    queue: int
    """0 if nothing was ever opened."""
    base_offset: Offset
    count: int
    """Records that became visible."""
    term: Term
    index: Index


class Decided(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a decision; of one that is sent again the first one's."""

    decision: Decision
    queue: int
    base_offset: Offset
    count: int
    term: Term
    index: Index


def answer(row: DecidedRow, decision: Decision) -> Decided:
    """Return what is told to who decides again.

    Raises:
        TransactionDecided: It was decided in another way.
    """
    if row.decision != decision:
        how = Decision(row.decision).name.lower().replace("_", " ")
        raise TransactionDecided(f"transaction {number_of(row.handle)} is {how}")
    return Decided(decision, row.queue, row.base_offset, row.count, row.term, row.index)


class Decisions:
    """The remembered decisions of one shard. What falls due: the oldest is forgotten."""

    def __init__(self, transactors: Transactors, timetable: Timetable) -> None:
        self.table: Final[Table[int, DecidedRow]] = Table()
        self.due_ms = NEVER_MS
        self._transactors: Final = transactors
        self._timetable: Final = timetable
        self._order: SortedKeys[int] = SortedKeys()

    def load(self, rows: Iterable[DecidedRow]) -> None:
        """Start from a snapshot; the transactors are there."""
        self.table.load((row.handle, row) for row in rows)
        self._order = SortedKeys(map(_order_of, self.table.rows.values()))
        self._set_due()

    def add(self, row: DecidedRow) -> None:
        """Remember a decision; the oldest gives way if there are too many."""
        self.table.put(row.handle, row)
        self._order.add(_order_of(row))
        if len(self.table) > DECISIONS_MAX:
            self._forget_first()
        self._set_due()
        self._timetable.note(self.due_ms)

    def do_next(self, due_ms: int, _log_time_ms: int) -> bool:
        """Forget the oldest, if that is due."""
        is_due = self.due_ms <= due_ms
        if is_due:
            self._forget_first()
        self._set_due()
        return is_due

    def _forget_first(self) -> None:
        order = self._order.first()
        assert order is not None, "there is no decision to forget"
        self._order.remove(order)
        row = self.table.delete(order & (1 << _HANDLE_BITS) - 1)
        owner = self._transactors.of(row.handle)
        self._transactors.table.touch(owner.id)
        finish(owner.finished, number_of(row.handle))

    def _set_due(self) -> None:
        order = self._order.first()
        first_ms = NEVER_MS if order is None else order >> _HANDLE_BITS
        self.due_ms = min(NEVER_MS, first_ms + DECISIONS_KNOWN_MS)


def _order_of(row: DecidedRow) -> int:
    return row.decided_ms << _HANDLE_BITS | row.handle
