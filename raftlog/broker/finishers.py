"""Who finished a message that was leased more than once: for whoever asks again, or comes late.

::

    A leases 7 --its lease ends--> B leases 7, acks it      A acks 7: StaleLease
    A leases 7, gives it back ---> B leases 7, acks it      A gives 7 back again: as before
    A leases 7, acks it                                     A acks 7 again: as before

The last one needs no row: nobody else ever had it. The others have one for a while: an
answer that was lost is asked for again in seconds. After that whatever is finished is so
for everybody.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

from raftlog.base.limits import FINISHER_ROWS_MAX, FINISHERS_KNOWN_MS
from raftlog.broker.flights import Flight, Key
from raftlog.broker.table import Table
from raftlog.broker.timetable import NEVER_MS, Timetable

NOBODY: Final = 0
"""Instead of a handle: a policy finished it, a dead letter was stored, or retention passed it."""


class Finisher(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Who finished a message, and who had given it back before. A row of state."""

    group: int
    queue: int
    offset: int
    handle: int
    given_back_by: int
    due_ms: int
    """When this is forgotten."""


class Finishers:
    """Those of one shard. What falls due: a row is forgotten."""

    def __init__(self, timetable: Timetable) -> None:
        self.table: Final[Table[Key, Finisher]] = Table()
        self.due_ms = NEVER_MS
        self._timetable = timetable
        self._ends: list[tuple[int, Key]] = []

    def load(self, rows: Iterable[Finisher]) -> None:
        """Start from a snapshot."""
        self.table.load(((row.group, row.queue, row.offset), row) for row in rows)
        self._gather_ends()

    def _gather_ends(self) -> None:
        """Make the heap anew: each of its entries is work for an entry, on every replica alike."""
        self._ends = [(row.due_ms, key) for key, row in self.table.rows.items()]
        heapify(self._ends)
        self.due_ms = self._ends[0][0] if self._ends else NEVER_MS

    def note(self, row: Flight, handle: int, now_ms: int) -> None:
        """A message is finished, by whoever has this handle: remember that if need be."""
        if handle != NOBODY and row.attempts <= 1 and not row.given_back_by:
            return
        key = (row.group, row.queue, row.offset)
        due_ms = now_ms + FINISHERS_KNOWN_MS
        self.table.put(key, Finisher(*key, handle, row.given_back_by, due_ms))
        heappush(self._ends, (due_ms, key))
        if len(self.table) > FINISHER_ROWS_MAX:
            self._forget_oldest()
        self.due_ms = self._ends[0][0]
        self._timetable.note(self.due_ms)

    def may_finish_again(self, key: Key, handle: int) -> bool:
        """Whether a finished message may have been finished under this handle."""
        row = self.table.get(key)
        return row is None or row.handle == handle

    def may_return_again(self, key: Key, handle: int) -> bool:
        """Whether a finished message may have been given back under this handle."""
        row = self.table.get(key)
        return row is None or handle in (row.handle, row.given_back_by)

    def was(self, key: Key, decided: int) -> bool:
        """Whether a finished message was blocked, and somebody has decided so about it."""
        row = self.table.get(key)
        return row is not None and row.given_back_by == decided

    def forget_from(self, group: int, queue: int, offset: int) -> None:
        """A group goes back: who finished what comes from there on does not matter any more."""
        gone = []
        for key in self.table.keys_after((group, queue, offset - 1)):
            if key[:2] != (group, queue):
                break
            gone.append(key)
        for key in gone:
            self.table.delete(key)
        if gone:
            self._gather_ends()

    def do_next(self, due_ms: int, _log_time_ms: int) -> bool:
        """Forget one row, if its time has come."""
        is_due = bool(self._ends) and self._ends[0][0] <= due_ms
        if is_due:
            self._forget_oldest()
        self.due_ms = self._ends[0][0] if self._ends else NEVER_MS
        return is_due

    def _forget_oldest(self) -> None:
        _, key = heappop(self._ends)
        self.table.delete(key)
