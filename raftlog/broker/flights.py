"""Messages in flight: leased once and not finished. One row each, by group, queue and offset.

::

    (new) --lease--> leased --given back, expired--> waiting --its time comes, lease--> leased
                       |                                |
                       | acknowledged                   | attempts used up
                       v                                v
                   (finished)  <--letter is stored-- dead | blocked | (skipped)

What waits in a queue that can't be read at the moment is set aside: it is leased to
nobody, since nobody could have its body, and its attempts would be used up.

With FIFO a message whose key has another one in flight before it is *parked*: it
has a row and a place in its key's line, and waits for that one to be finished.

A row whose queue or group is gone, or whose offset retention has passed, is swept
away, a few with each entry: nobody gets it meanwhile, because whoever leases looks.

Beside the rows there are only things that follow from them: when leases end, what
waits for when, who stands in line, what is dead. So a snapshot needs rows alone, and
nothing that is done in order is done in the order of a set.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final

import msgspec

from raftlog.broker.blocked import Blocked
from raftlog.broker.table import Table
from raftlog.broker.timetable import NEVER_MS, Timetable

WAITING: Final = 0
"""Instead of a handle: nobody has it, and from ``due_ms`` on anybody may."""
PARKED: Final = -1
DEAD: Final = -2
BLOCKED: Final = -3

STALE_ENDS_MAX: Final = 1_000
"""So many more are kept than there are handles that hold something, twice counted."""

Key = tuple[int, int, int]
"""Group, queue and offset."""


class Flight(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """A message in flight. A row of state."""

    group: int
    queue: int
    offset: int
    attempts: int
    """How often it was leased."""
    due_ms: int
    """When the lease ends, or the wait; of what is dead or blocked: since when it is."""
    handle: int
    """Who has leased it; or, below 1, what it is instead."""
    key: int = 0
    """With FIFO, the hash of its key; 0: none."""
    reason: str = ""
    """Why it came back last."""
    given_back_by: int = 0
    """The handle that it came back under last: that one may say so twice. ``BLOCKED`` or less:
    it was, and somebody decided about it: ``BLOCKED`` less the verdict."""


class Tally:
    """How many messages of one group are in flight, and how many of them are leased."""

    __slots__ = ("blocked", "dead", "leased", "rows")

    def __init__(self) -> None:
        self.rows = self.leased = self.dead = self.blocked = 0


_NOTHING: Final = Tally()


class Flights:
    """The messages in flight of one shard.

    Args:
        timetable: Told when leases end.
        is_shut: Whether a queue can't be read at the moment.
    """

    def __init__(self, timetable: Timetable, is_shut: Callable[[int], bool]) -> None:
        self.table: Final[Table[Key, Flight]] = Table()
        self.dead: Final[dict[Key, None]] = {}
        """Those that are to become dead letters, the latest last."""
        self.deaths = 0
        """How many there were, since this replica started."""
        self.blocked: Final = Blocked()
        """Those that wait for somebody's decision."""
        self._timetable = timetable
        self._is_shut = is_shut
        self._tallies: Final[dict[int, Tally]] = {}
        self._grants: Final[dict[tuple[int, int], set[Key]]] = {}
        """By group and handle: what is leased under it."""
        self._ends: list[tuple[int, int, int]] = []
        """A heap of when leases end: time, group, handle. Some are stale."""
        self._noted: Final[dict[tuple[int, int], int]] = {}
        """By group and handle the one time in it that is not: when its first lease ends, or
        earlier. Leases that are extended have no other one until then."""
        self._ending_at: tuple[int, int, int] | None = None
        self._ending: list[Key] = []
        """What ends at that time, last first: looked up once for all of it."""
        self._waiting: Final[dict[int, list[tuple[int, int, int]]]] = {}
        """For each group a heap of what waits: time, queue, offset. Some has gone since."""
        self._aside: Final[dict[int, list[tuple[int, tuple[int, int, int]]]]] = {}
        """For each queue that is shut what was found waiting in it: group, and as above."""
        self._lines: Final[dict[Key, deque[int]]] = {}
        """By group, queue and key: the offsets in flight, in order."""

    def load(self, rows: Iterable[Flight]) -> None:
        """Start from a snapshot."""
        self.table.load(((row.group, row.queue, row.offset), row) for row in rows)
        for known in (self.dead, self._tallies, self._grants, self._waiting, self._lines):
            known.clear()
        self.blocked.clear()
        self._aside.clear()
        self._noted.clear()
        for row in self.table.after(None):
            key = (row.group, row.queue, row.offset)
            self._take_in(key, row)
            if row.handle > 0:
                grant = row.group, row.handle
                self._noted[grant] = min(row.due_ms, self._noted.get(grant, row.due_ms))
        self._gather_ends()

    # -- looking

    def tally(self, group: int) -> Tally:
        """Return how many messages a group has in flight; not to be changed."""
        return self._tallies.get(group, _NOTHING)

    def get(self, key: Key) -> Flight | None:
        """Return the row, or None."""
        return self.table.rows.get(key)

    def granted(self, group: int, handle: int) -> list[Key]:
        """Return what is leased under a handle, in order."""
        return sorted(self._grants.get((group, handle), ()))

    def oldest(self, group: int, queue: int) -> Flight | None:
        """Return the first message of a queue that a group has in flight, or None."""
        row = next(self.table.after((group, queue, -1)), None)
        return row if row is not None and (row.group, row.queue) == (group, queue) else None

    def of_group(self, group: int, after: tuple[int, int]) -> Iterator[Flight]:
        """Walk through what a group has in flight behind a queue and offset, in order."""
        for row in self.table.after((group, *after)):
            if row.group != group:
                return
            yield row

    def of_queue(self, group: int, queue: int) -> Iterator[Flight]:
        """Walk through what a group has in flight in a queue. Nothing may change meanwhile."""
        for row in self.table.after((group, queue, -1)):
            if (row.group, row.queue) != (group, queue):
                return
            yield row

    def is_in_line(self, group: int, queue: int, key: int) -> bool:
        """Whether a message of this key is in flight."""
        return (group, queue, key) in self._lines

    def next_wait_ms(self, group: int) -> int:
        """Return when the next waiting message of a group may be leased; ``NEVER_MS``: none."""
        waiting = self._waiting.get(group)
        self._forget_stale(group, waiting)
        return waiting[0][0] if waiting else NEVER_MS

    @property
    def next_end_ms(self) -> int:
        """When the next lease ends, or earlier."""
        return self._ends[0][0] if self._ends else NEVER_MS

    # -- what becomes of a message

    def lease(self, row: Flight, handle: int, due_ms: int) -> None:
        """Lease a message that waits, once more."""
        key = (row.group, row.queue, row.offset)
        assert row.handle == WAITING, f"{row} does not wait"
        self.table.touch(key)
        row.handle, row.due_ms = handle, due_ms
        row.attempts += 1
        self._tallies[row.group].leased += 1
        self._grants.setdefault((row.group, handle), set()).add(key)

    def begin(self, key: Key, handle: int, due_ms: int, hash_: int = 0) -> bool:
        """Lease a message for the first time; with FIFO it may have to stand in line instead.

        Returns whether it is leased.
        """
        group, queue, offset = key
        parks = bool(hash_) and (group, queue, hash_) in self._lines
        if parks:
            row = Flight(group, queue, offset, 0, 0, PARKED, hash_)
        else:
            row = Flight(group, queue, offset, 1, due_ms, handle, hash_)
        self.table.put(key, row)
        self._take_in(key, row)
        return not parks

    def extend(self, row: Flight, due_ms: int) -> None:
        """Let a lease end at another time."""
        self.table.touch((row.group, row.queue, row.offset))
        row.due_ms = due_ms

    def note_end(self, group: int, handle: int, due_ms: int) -> None:
        """Some of what was leased under a handle ends then: to be called once for all of it."""
        noted_ms = self._noted.get((group, handle))
        if noted_ms is None or due_ms < noted_ms:
            self._noted[group, handle] = due_ms
            heappush(self._ends, (due_ms, group, handle))
            self._timetable.note(due_ms)
            if len(self._ends) > 2 * len(self._noted) + STALE_ENDS_MAX:
                self._gather_ends()

    def _gather_ends(self) -> None:
        """Make the heap anew, without what is stale."""
        self._ends = [(due_ms, *grant) for grant, due_ms in self._noted.items()]
        heapify(self._ends)
        self._ending_at = None

    def put_back(
        self, row: Flight, state: int, due_ms: int, reason: str, given_back_by: int = 0
    ) -> None:
        """End a lease, or a wait, without finishing the message. 0: nobody has given it back."""
        key = (row.group, row.queue, row.offset)
        self.table.touch(key)
        self._take_out(key, row, stays_in_line=True)
        row.handle, row.due_ms, row.reason = state, due_ms, reason
        row.given_back_by = given_back_by or row.given_back_by
        self._take_in(key, row, is_in_line=True)

    def finish(self, row: Flight, now_ms: int) -> None:
        """A message is not in flight any more; who stands behind it in line may go on."""
        key = (row.group, row.queue, row.offset)
        self.table.delete(key)
        self._take_out(key, row)
        line = self._lines.get((row.group, row.queue, row.key)) if row.key else None
        if line is not None:
            following = self.table.rows[row.group, row.queue, line[0]]
            if following.handle == PARKED:
                self.put_back(following, WAITING, now_ms, "")

    def take_waiting(self, group: int, now_ms: int) -> Flight | None:
        """Return the message of a group that has waited longest, if its time has come.

        The caller leases it, or drops it: it is not found again.
        """
        waiting = self._waiting.get(group)
        self._forget_stale(group, waiting)
        if not waiting or waiting[0][0] > now_ms:
            return None
        _, queue, offset = heappop(waiting)
        return self.table.rows[group, queue, offset]

    def permitted(self, queue: int) -> None:
        """A queue may be read again, or was closed: what was set aside waits again."""
        for group, waits in self._aside.pop(queue, ()):
            if group in self._tallies:
                heappush(self._waiting.setdefault(group, []), waits)

    def next_ended(self, through_ms: int) -> Flight | None:
        """Return a message whose lease ended when the next one does, if that is so soon.

        To be put back or finished.
        """
        rows = self.table.rows
        self._forget_ends()
        while self._ends and self._ends[0][0] <= through_ms:
            end = due_ms, group, handle = self._ends[0]
            if self._ending_at != end:
                keys = self._grants.get((group, handle), ())
                ending = [key for key in keys if rows[key].due_ms == due_ms]
                self._ending_at, self._ending = end, sorted(ending, reverse=True)
            while self._ending:
                row = rows.get(self._ending.pop())
                if row is not None and (row.handle, row.due_ms) == (handle, due_ms):
                    return row
            self._ending_at = None
            del self._noted[group, handle]  # what was extended ends later
            grant = self._grants[group, handle]
            self.note_end(group, handle, min(rows[key].due_ms for key in grant))
            self._forget_ends()
        return None

    # -- what follows from the rows

    def _take_in(self, key: Key, row: Flight, *, is_in_line: bool = False) -> None:
        group, queue, offset = key
        tally = self._tallies.get(group)
        if tally is None:
            tally = self._tallies[group] = Tally()
        tally.rows += 1
        if row.handle > 0:
            tally.leased += 1
            self._grants.setdefault((group, row.handle), set()).add(key)
        elif row.handle == WAITING:
            heappush(self._waiting.setdefault(group, []), (row.due_ms, queue, offset))
        elif row.handle == DEAD:
            tally.dead += 1
            self.dead[key] = None
            self.deaths += 1
        elif row.handle == BLOCKED:
            tally.blocked += 1
            self.blocked.add(*key, row.due_ms)
        if row.key and not is_in_line:
            self._lines.setdefault((group, queue, row.key), deque()).append(offset)

    def _take_out(self, key: Key, row: Flight, *, stays_in_line: bool = False) -> None:
        group, queue, offset = key
        tally = self._tallies[group]
        tally.rows -= 1
        if row.handle > 0:
            tally.leased -= 1
            grant = self._grants[group, row.handle]
            grant.remove(key)
            if not grant:
                del self._grants[group, row.handle]
                self._noted.pop((group, row.handle), None)
                self._forget_ends()
        elif row.handle == DEAD:
            tally.dead -= 1
            del self.dead[key]
        elif row.handle == BLOCKED:
            tally.blocked -= 1
            self.blocked.remove(*key, row.due_ms)
        if not tally.rows and not stays_in_line:
            del self._tallies[group]
            self._waiting.pop(group, None)
        if row.key and not stays_in_line:
            line = self._lines[group, queue, row.key]
            line.remove(offset)
            if not line:
                del self._lines[group, queue, row.key]

    def _forget_ends(self) -> None:
        """Forget the first ends that are stale, so that nobody wakes for them."""
        ends, noted = self._ends, self._noted
        while ends and noted.get((ends[0][1], ends[0][2])) != ends[0][0]:
            heappop(ends)

    def _forget_stale(self, group: int, waiting: list[tuple[int, int, int]] | None) -> None:
        rows = self.table.rows
        while waiting:
            due_ms, queue, offset = waiting[0]
            row = rows.get((group, queue, offset))
            if row is not None and row.handle == WAITING and row.due_ms == due_ms:
                if not self._is_shut(queue):
                    return
                self._aside.setdefault(queue, []).append((group, waiting[0]))
            heappop(waiting)
