"""Survivors: visible batches that outlive the range of the log they were stored in (ruling 7).

::

    range 1 (72 h old; all have passed it but a dead letter d)    range 2 ...     open range
    posting and body of d ---------- read by the leader --------------> CopyForward: the very bytes
                                                                        again; a row says where

A sealed range never changes, so its posting of ``d`` can't point elsewhere. A row does that in its
place: offsets and times as they were, and where the copy lies. So a range is not *needed* any
more when each queue's start, or the end of its survivors, has passed it.

A queue's survivors follow one another without a gap, from its start on: copied is always the
next one. A row goes when the start passes it, or with its queue. When the range with the copy has
become old in its turn, the batch is copied again, and its row points to the new one.

What a row says was read from a sealed range, which is the same everywhere; it can't be looked at
in apply, since it may be a file. So the command says it, as it says what the bytes are.

Little-endian::

    count u32 | count x ( queue u32 | base offset u64 | records u32 | log time u64
                          | record time i64 | index u64 | position u32 | length u32 )
    the batches, one after the other

``index`` and ``position`` are where the batch was read: a survivor moves only from there.
"""

import struct
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadRequest
from raftlog.base.ids import Index, Offset
from raftlog.base.limits import SURVIVOR_ROWS_MAX
from raftlog.broker.commands import SURVIVORS_LEVEL, Command, CommandType
from raftlog.broker.copied_bodies import body_parts, read_bodies
from raftlog.broker.index import Posting, Postings
from raftlog.broker.table import Table

_ITEM: Final = struct.Struct("<IQIQqQII")
ITEM_BYTES: Final = _ITEM.size
POSTINGS_AT_ONCE: Final = 256
"""Postings that are made of rows for one answer."""

SurvivorKey = tuple[int, int]
"""Queue and base offset."""


class Survivor(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """A batch, and where its copy lies. A row of state: only ``Survivors`` changes it."""

    queue: int
    base_offset: int
    count: int
    log_time_ms: int
    record_time_ms: int
    index: Index
    position: int
    length: int

    @property
    def end_offset(self) -> Offset:
        """The offset after the batch's last record."""
        return Offset(self.base_offset + self.count)

    @property
    def key(self) -> SurvivorKey:
        """What it is found by."""
        return self.queue, self.base_offset


class Copying(msgspec.Struct, frozen=True, gc=False):
    """A batch to be copied: its queue, and its posting, which says where it was read."""

    queue: int
    posting: Posting


class CopiedForward(msgspec.Struct, frozen=True, gc=False):
    """How many batches have a row that points to their copies now."""

    copied: int


def copy_command(items: Sequence[Copying], bodies: Sequence[Buffer]) -> Command:
    """Return the command that copies ``items``, of which ``bodies`` are the bytes."""
    rows = [(item.queue, *msgspec.structs.astuple(item.posting)) for item in items]
    return Command(CommandType.COPY_FORWARD, body_parts(_ITEM, rows, bodies))


def read_copies(body: Buffer, position: int, length: int) -> list[tuple[Copying, int]]:
    """Return what a command copies, and where in the entry's body each copy lies.

    Raises:
        BadRequest: The lengths do not add up.
    """
    found: list[tuple[Copying, int]] = []
    for (queue, base, *facts), place in read_bodies(_ITEM, body, position, length):
        records, log_ms, record_ms, index, old, size = facts
        posting = Posting(Offset(base), records, log_ms, record_ms, Index(index), old, size)
        found.append((Copying(queue, posting), place))
    return found


def check_survivors_level(level: int) -> None:
    """Refuse what no leader proposes before all members can apply it.

    Raises:
        BadRequest: The shard's feature level is lower.
    """
    if level < SURVIVORS_LEVEL:
        raise BadRequest(f"copies forward need feature level {SURVIVORS_LEVEL}, not {level}")


class Survivors:
    """The survivors of one shard.

    Args:
        range_of: Returns the first index of the range that has an entry.
    """

    def __init__(self, range_of: Callable[[Index], Index]) -> None:
        self.table: Final[Table[SurvivorKey, Survivor]] = Table()
        self._range_of: Final = range_of
        self._bases: Final[dict[int, list[int]]] = {}
        """Of each queue that has some, in order."""
        self._bytes: Final[Counter[int]] = Counter()
        self._copies: Final[dict[Index, dict[SurvivorKey, None]]] = {}
        """By the range that the copies lie in."""
        self._copied_bytes: Final[Counter[Index]] = Counter()

    def load(self, rows: Iterable[Survivor]) -> None:
        """Start from a snapshot; the ranges are there."""
        self._bases.clear()
        self._bytes.clear()
        self._copies.clear()
        self._copied_bytes.clear()
        self.table.load((row.key, row) for row in rows)
        for row in self.table.rows.values():
            self._note(row)

    def __len__(self) -> int:
        """Count them."""
        return len(self.table)

    # -- the life of a row

    def copy(self, item: Copying, start: Offset, index: Index, position: int) -> bool:
        """Take in that entry ``index``, which is being applied, has a copy at ``position``.

        Args:
            item: Of a queue that is there.
            start: Where it begins.
            index: The entry that has the copy.
            position: Of its first byte in that entry's body.

        Returns:
            Whether the copy counts: it is of what comes next, or of a survivor that still lies
            where it was read.
        """
        posting = item.posting
        row = self.table.rows.get((item.queue, posting.base_offset))
        if row is not None:
            if (row.index, row.position) != (posting.index, posting.position):
                return False
            if (row.count, row.length) != (posting.count, posting.length):
                return False
            self.table.touch(row.key)
            self._leave(row)
            row.index, row.position = index, position
            self._lie(row)
            return True
        through = self.copied_through(item.queue)
        is_next = posting.base_offset == through if through else posting.base_offset <= start
        if not is_next or posting.end_offset <= start or len(self.table) >= SURVIVOR_ROWS_MAX:
            return False
        row = Survivor(
            *(item.queue, posting.base_offset, posting.count, posting.log_time_ms),
            *(posting.record_time_ms, index, position, posting.length),
        )
        self.table.put(row.key, row)
        self._note(row)
        return True

    def pass_start(self, queue: int, start: Offset) -> None:
        """A queue begins at ``start`` now: what lies before goes."""
        bases = self._bases.get(queue)
        if bases is None:
            return
        rows = self.table.rows
        gone = bisect_left(bases, start)
        if gone and rows[queue, bases[gone - 1]].end_offset > start:
            gone -= 1
        for base in bases[:gone]:
            row = self.table.delete((queue, base))
            self._leave(row)
            self._bytes[queue] -= row.length
        del bases[:gone]
        if not bases:
            del self._bases[queue], self._bytes[queue]

    def close(self, queue: int) -> None:
        """A queue is closed: nobody reads its records any more."""
        self.pass_start(queue, self.copied_through(queue))

    def _note(self, row: Survivor) -> None:
        self._bases.setdefault(row.queue, []).append(row.base_offset)
        self._bytes[row.queue] += row.length
        self._lie(row)

    def _lie(self, row: Survivor) -> None:
        first = self._range_of(row.index)
        self._copies.setdefault(first, {})[row.key] = None
        self._copied_bytes[first] += row.length

    def _leave(self, row: Survivor) -> None:
        first = self._range_of(row.index)
        copies = self._copies[first]
        del copies[row.key]
        self._copied_bytes[first] -= row.length
        if not copies:
            del self._copies[first], self._copied_bytes[first]

    # -- looking

    def copied_through(self, queue: int) -> Offset:
        """Return the end of a queue's survivors; 0 if it has none."""
        bases = self._bases.get(queue)
        return Offset(0) if bases is None else self.table.rows[queue, bases[-1]].end_offset

    def of_range(self, first: Index) -> Iterator[Survivor]:
        """Walk through those whose copies lie in a range. Nothing may change meanwhile."""
        return (self.table.rows[key] for key in self._copies.get(first, ()))

    def copies_in(self, first: Index) -> tuple[int, int]:
        """Return how many copies lie in a range, and their bytes."""
        return len(self._copies.get(first, ())), self._copied_bytes[first]

    def time_at(self, queue: int, offset: Offset) -> int:
        """Return the log time of the survivor that holds ``offset``."""
        bases = self._bases[queue]
        return self.table.rows[queue, bases[bisect_right(bases, offset) - 1]].log_time_ms

    def find(self, queue: int, offset: Offset) -> Postings:
        """Return postings of which one holds ``offset``: the queue has a survivor that does."""
        at = bisect_right(self._bases[queue], offset) - 1
        assert at >= 0, f"offset {offset} of queue {queue} lies before its survivors"
        return self._postings(queue, at)

    def find_time(self, queue: int, log_time_ms: int, before: Offset) -> Postings | None:
        """Return postings that begin with the first one before ``before`` at or after a time."""
        bases = self._bases.get(queue, ())
        rows = self.table.rows

        def time_of(base: int) -> int:
            return rows[queue, base].log_time_ms

        end = bisect_left(bases, before)
        at = bisect_left(bases, log_time_ms, hi=end, key=time_of)
        return self._postings(queue, at) if at < end else None

    def find_bytes(self, queue: int, size: int, before: Offset) -> tuple[Postings, int] | None:
        """Return where the newest ``size`` bytes before ``before`` begin, and the bytes behind.

        None if there are no more than so many.
        """
        bases = self._bases.get(queue, ())
        end = bisect_left(bases, before)
        behind = 0
        while end:
            begin = max(0, end - POSTINGS_AT_ONCE)
            postings = self._postings(queue, begin, end)
            more = postings.batch_bytes
            if behind + more > size:
                return postings, behind
            behind += more
            end = begin
        return None

    def batch_bytes(self, queue: int, before: Offset) -> int:
        """Return the bytes of a queue's survivors before ``before``."""
        bases = self._bases.get(queue, ())
        twice = bases[bisect_left(bases, before) :]
        return self._bytes[queue] - sum(self.table.rows[queue, base].length for base in twice)

    def _postings(self, queue: int, begin: int, end: int | None = None) -> Postings:
        found = Postings()
        until = begin + POSTINGS_AT_ONCE if end is None else end
        for base in self._bases[queue][begin:until]:
            row = self.table.rows[queue, base]
            found.append(
                *(row.base_offset, row.count, row.log_time_ms, row.record_time_ms),
                *(row.index, row.position, row.length),
            )
        return found
