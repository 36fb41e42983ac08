"""Transactors: who opens transactions, under a name that outlives the process.

::

    init "billing-1"   --> id 7, epoch 1, from number 1 on
    init "billing-1"   --> id 7, epoch 2, from number 58 on: the first one is fenced

A transaction is (transactor id, number). Everything that one transactor may ever ask again is
answered from its row: which numbers are finished, and where it goes on. A group names the
processes that can say what became of a transaction when its owner is gone.

In rows and orders a transaction is one number, its *handle*: the transactor's slot, one of
a few thousand, and the number. A slot has a new owner only after the old one was forgotten, and
with it all that it had open or decided.
"""

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from raftlog.base.errors import BadRequest, Fenced, LimitReached, UnknownTransactor
from raftlog.base.limits import (
    NAME_CHARACTERS_MAX,
    TRANSACTOR_FORGOTTEN_MS,
    TRANSACTORS_MAX,
)
from raftlog.base.names import check_name
from raftlog.broker.sorted_keys import SortedKeys
from raftlog.broker.table import Table
from raftlog.broker.timetable import NEVER_MS, Timetable

NUMBER_BITS: Final = 48
NUMBER_MAX: Final = (1 << NUMBER_BITS) - 1
HEARD_STEP_MS: Final = 60_000
"""A transactor's row says within a minute when it was heard: not every command changes it."""

Number = Annotated[int, msgspec.Meta(ge=1, le=NUMBER_MAX)]
"""Of a transaction, among those of its transactor."""
TransactorName = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARACTERS_MAX)]


class InitTransactor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Begin, or take over, a transactor. Outcome: ``TransactorBegun``."""

    name: TransactorName
    group: TransactorName

    def __post_init__(self) -> None:
        """Refuse a name that no transactor or group can have."""
        check_name(self.name, "transactor")
        check_name(self.group, "group")


class TransactorBegun(msgspec.Struct, frozen=True, gc=False):
    """The outcome of an init; of one that is sent again a later epoch, which is as good."""

    id: int
    epoch: int
    next_number: int
    """Nothing that the name ever opened has this number or a higher one."""


class Transactor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A row of state: only ``Transactors`` changes it, or who has called ``touch``."""

    id: int
    slot: int
    name: str
    group: str
    epoch: int
    heard_ms: int
    next_number: int = 1
    open: int = 0
    """How many of its transactions are not decided."""
    finished: list[int] = []
    """Numbers that were decided and are remembered no more (``finished_numbers``)."""

    def handle(self, number: int) -> int:
        """Return what names one of its transactions in all tables."""
        return self.slot << NUMBER_BITS | number


def number_of(handle: int) -> int:
    """Return the transaction's number."""
    return handle & NUMBER_MAX


class Transactors:
    """The transactors of one shard. What falls due: one that was silent for long is forgotten."""

    def __init__(self, timetable: Timetable) -> None:
        self.table: Final[Table[int, Transactor]] = Table()
        self.due_ms = NEVER_MS
        self.regrouped = 0
        """How often one came to another group, as far as this replica has seen it: no state."""
        self._timetable: Final = timetable
        self._ids: Final[dict[str, int]] = {}
        self._slots: Final[dict[int, int]] = {}
        self._free: SortedKeys[int] = SortedKeys()
        """Slots below the highest that was ever used and has an owner no more."""
        self._order: SortedKeys[tuple[int, int]] = SortedKeys()

    def load(self, rows: Iterable[Transactor]) -> None:
        """Start from a snapshot."""
        self.table.load((row.id, row) for row in rows)
        found = list(self.table.rows.values())
        self._ids.clear()
        self._ids.update((row.name, row.id) for row in found)
        self._slots.clear()
        self._slots.update((row.slot, row.id) for row in found)
        highest = max(self._slots, default=-1)
        self._free = SortedKeys(slot for slot in range(highest) if slot not in self._slots)
        self._order = SortedKeys((row.heard_ms, row.id) for row in found)
        self._set_due()

    def init(self, command: InitTransactor, new_id: int, log_time_ms: int) -> TransactorBegun:
        """Carry out an init.

        Raises:
            LimitReached: There are too many.
        """
        known = self._ids.get(command.name)
        if known is not None:
            row = self.table.rows[known]
            self.table.touch(known)
            row.epoch += 1
            self.regrouped += row.group != command.group
            row.group = command.group
            self.hear(row, log_time_ms)
            return TransactorBegun(row.id, row.epoch, row.next_number)
        if len(self.table) >= TRANSACTORS_MAX:
            raise LimitReached(f"there are {TRANSACTORS_MAX} transactors")
        slot = self._take_slot()
        row = Transactor(new_id, slot, command.name, command.group, 1, log_time_ms, finished=[])
        self.table.put(new_id, row)
        self._ids[row.name] = row.id
        self._slots[slot] = row.id
        self._order.add((row.heard_ms, row.id))
        self._set_due()
        return TransactorBegun(row.id, row.epoch, row.next_number)

    def _take_slot(self) -> int:
        """Return the lowest slot that nobody has: the same one on a replica that was restored."""
        slot = self._free.first()
        if slot is None:
            return len(self._slots)
        self._free.remove(slot)
        return slot

    def find(self, id_: int) -> Transactor:
        """Return a row.

        Raises:
            UnknownTransactor: There is none.
        """
        row = self.table.rows.get(id_)
        if row is None:
            raise UnknownTransactor(f"there is no transactor {id_}")
        return row

    def owner(self, id_: int, epoch: int) -> Transactor:
        """Return the row of who says that it is the owner.

        Raises:
            UnknownTransactor: There is none.
            Fenced: A newer process has taken over.
            BadRequest: The epoch is none that was given away.
        """
        row = self.find(id_)
        if epoch < row.epoch:
            raise Fenced(f"transactor {row.name!r} is at epoch {row.epoch}, not {epoch}")
        if epoch > row.epoch:
            raise BadRequest(f"transactor {row.name!r} has not reached epoch {epoch}")
        return row

    def of(self, handle: int) -> Transactor:
        """Return whose transaction that is; it is open or remembered, so its owner is there."""
        return self.table.rows[self._slots[handle >> NUMBER_BITS]]

    def hear(self, row: Transactor, log_time_ms: int) -> None:
        """Something came from a transactor, or was done to what it has open."""
        if log_time_ms >= row.heard_ms + HEARD_STEP_MS:
            self._order.remove((row.heard_ms, row.id))
            self.table.touch(row.id)
            row.heard_ms = log_time_ms
            self._order.add((row.heard_ms, row.id))
            self._set_due()

    def count(self, row: Transactor, number: int, change: int, log_time_ms: int) -> None:
        """A number was used; so many more are open."""
        self.table.touch(row.id)
        row.next_number = max(row.next_number, number + 1)
        row.open += change
        self.hear(row, log_time_ms)

    def do_next(self, due_ms: int, log_time_ms: int) -> bool:
        """Forget who was silent longest; one that has something open gets the time again."""
        first = self._order.first()
        is_due = first is not None and first[0] + TRANSACTOR_FORGOTTEN_MS <= due_ms
        if first is not None and is_due:
            row = self.table.rows[first[1]]
            if row.open:
                self.hear(row, log_time_ms)
            else:
                self._forget(row)
        self._set_due()
        return is_due

    def _forget(self, row: Transactor) -> None:
        self._order.remove((row.heard_ms, row.id))
        self.table.delete(row.id)
        del self._ids[row.name]
        highest = max(self._slots)
        del self._slots[row.slot]
        if row.slot != highest:
            self._free.add(row.slot)
            return
        below = max(self._slots, default=-1)
        for slot in range(below + 1, highest):
            self._free.remove(slot)

    def _set_due(self) -> None:
        first = self._order.first()
        self.due_ms = NEVER_MS if first is None else first[0] + TRANSACTOR_FORGOTTEN_MS
        self._timetable.note(self.due_ms)
