"""Hidden batches: what lies in the log and is not visible in its queue, or not yet (ruling 7).

::

    entry 7:   a batch for queue 3 --> hidden (3, id)      no offset, no posting
    entry 900: it is due, or decided --> reveal: a posting of the open range that points
                                         back to entry 7, at the end of queue 3; no second copy
               it is cancelled       --> drop: nothing is left of it

Whoever has a batch hidden *holds* it: a timer, a half message, a part of a transaction that
is staged. That is one number in the row, ``holder``; ``held`` is one more that means what
the holder says (a timer's is when it is due). What else a holder knows of its batches it
keeps in tables of its own, by ``HiddenKey``.

How to use it, as a holder:

- ``add`` a row for a batch that lies in the entry that is being applied (``HiddenAppends``
  does it for a batch of an idempotent producer, and answers the ones that come again);
- ``reveal`` makes it visible, at one offset, in the entry that is being applied;
- ``drop`` forgets it;
- each ends the row, and is called once for a row that is there: ``get`` tells;
- ``tell_of_lost`` names who is told when a row went because its queue was closed. That is not
  at once: a topic may have a million of them. Until then ``get`` finds them still, so whoever
  acts looks whether there is the queue.

The body stays needed where it lies until the row ends, and after a ``reveal`` until the start
of the queue has passed the posting (``broker.needs``). ``relocate`` moves the reference to
another copy of the very bytes, near the log's end, so that the old range can go: only while
it points to where the copy was read from. Its key stays: holders notice nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from itertools import islice
from operator import attrgetter
from typing import Final

import msgspec

from raftlog.base.ids import Index, Offset
from raftlog.broker.places import POSITION_BITS, index_of
from raftlog.broker.queue_index import QueueIndex
from raftlog.broker.queues import Queue, Queues
from raftlog.broker.sorted_keys import runs_of
from raftlog.broker.table import Table
from raftlog.broker.timetable import NEVER_MS, Timetable

CLEARED_AT_ONCE: Final = 100
"""Rows of closed queues that go at one log time: few, so that nothing else that is due waits."""
RUN_ROWS: Final = 256
"""In the mean, rows that a snapshot encodes, or does not encode again, together."""
_U64: Final = (1 << 64) - 1
_MIX: Final = 0x9E37_79B9_7F4A_7C15
"""2^64 divided by the golden ratio: multiples of it, of numbers that follow one another, lie far
apart, so those below a bound come at nearly equal distances (Knuth, volume 3, 6.4)."""

HiddenKey = tuple[int, int]
"""Queue and id. In order of these a queue's batches are in the order in which they were stored."""


class Holder(IntEnum):
    """Who has a batch hidden. A number is never used again for something else."""

    TIMER = 1
    """``broker.delays``; ``held`` is when it is due, in log time."""
    TRANSACTION = 2
    """``broker.transactions``; ``held`` is the handle of the transaction."""
    STAGED = 3
    """``broker.staging``; ``held`` is when it is dropped, in log time."""


class HiddenBatch(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """A batch that nobody can read yet. A row of state: only ``Hidden`` changes it."""

    queue: int
    id: int
    """Of the command that brought it: ``CommandPlace.id``."""
    index: Index
    """Which entry has its bytes: the command's own, until they are relocated."""
    position: int
    """Of its first byte, in that entry's body."""
    length: int
    count: int
    """Its records."""
    record_time_ms: int
    """The largest of their timestamps."""
    holder: int
    held: int = 0

    @property
    def key(self) -> HiddenKey:
        """What it is found by."""
        return self.queue, self.id

    @property
    def is_moved(self) -> bool:
        """Whether its bytes lie elsewhere than where they were first."""
        return self.index != index_of(self.id)


def _end_of_run(keys: Sequence[HiddenKey]) -> int:
    """Count the keys through the first that ends a run: by the ids, one of ``RUN_ROWS`` does."""
    below = _U64 // RUN_ROWS
    for place, (_, id_) in enumerate(keys, 1):
        if id_ * _MIX & _U64 < below:
            return place
    return 0


_KEY_OF: Final = attrgetter("queue", "id")
_QUEUE_OF: Final = attrgetter("queue")
_HOLDER_OF: Final = attrgetter("holder")
_HELD_OF: Final = attrgetter("held")


class Hidden:
    """The hidden batches of one shard. What falls due: rows of closed queues go.

    Args:
        on_revealed: Told the queue that got a batch.
    """

    def __init__(
        self,
        queues: Queues,
        index: QueueIndex,
        timetable: Timetable,
        on_revealed: Callable[[int], None],
    ) -> None:
        # Most stay for long, and there may be two million: a snapshot encodes what is new.
        self.table: Final[Table[HiddenKey, HiddenBatch]] = Table(end_of_run=_end_of_run)
        self.due_ms = NEVER_MS
        self.cleared_ms = 0
        """Log time at which rows of closed queues went last."""
        self._queues: Final = queues
        self._index: Final = index
        self._timetable: Final = timetable
        self._on_revealed: Final = on_revealed
        self._on_lost: Final[dict[int, Callable[[HiddenBatch], None]]] = {}
        self._moved: Final[dict[Index, dict[HiddenKey, None]]] = {}
        """The relocated ones, by the range that they lie in: their ids do not tell."""
        self._closed: list[int] = []
        """Closed queues that may have rows left, in order."""

    def tell_of_lost(self, holder: Holder, listener: Callable[[HiddenBatch], None]) -> None:
        """Call ``listener`` with each row of ``holder`` that goes because its queue was closed."""
        self._on_lost[holder] = listener

    def load(self, rows: Sequence[HiddenBatch], cleared_ms: int) -> None:
        """Start from a snapshot; queues and ranges are there."""
        # There may be two million: what a row costs here, each restart costs that often.
        self.table.load(zip(map(_KEY_OF, rows), rows, strict=True))
        self.cleared_ms = cleared_ms
        self._moved.clear()
        for row in [row for row in rows if row.index != row.id >> POSITION_BITS]:
            self._moved.setdefault(self._index.range_of(row.index), {})[row.key] = None
        queues = [queue for queue, _ in runs_of(rows, _QUEUE_OF)]
        self._closed = [each for each in queues if self._queues.get(each) is None]
        self._set_due()

    def __len__(self) -> int:
        """Count the rows, those of closed queues included."""
        return len(self.table)

    def get(self, key: HiddenKey) -> HiddenBatch | None:
        """Return the row, or None: it is visible, was dropped, or never was."""
        return self.table.rows.get(key)

    def held_by(self, holder: Holder) -> list[tuple[int, HiddenKey]]:
        """Return ``held`` and key of each row of a holder. It takes time for all rows: for starts.

        Right after ``load`` they come in the order of keys.
        """
        rows = self.table.rows
        holders = set(map(_HOLDER_OF, rows.values()))
        if holder not in holders:
            return []
        if len(holders) == 1:
            return [*zip(map(_HELD_OF, rows.values()), rows, strict=True)]
        return [(row.held, key) for key, row in rows.items() if row.holder == holder]

    def of_queue(self, queue: int, after: int = 0) -> Iterator[HiddenBatch]:
        """Walk through a queue's rows behind the id ``after``. Nothing may change meanwhile."""
        for row in self.table.after((queue, after)):
            if row.queue != queue:
                break
            yield row

    # -- the life of a row

    def add(self, row: HiddenBatch, log_time_ms: int) -> None:
        """Hide a batch that the entry has which is being applied. The queue is there."""
        key = (row.queue, row.id)
        assert key not in self.table.rows, f"{row} is hidden twice"
        self.table.put(key, row)
        first = self._index.open.first_index
        assert row.index >= first, f"{row} lies before the open range, which begins at {first}"
        # A range ends, and a snapshot is made, by what it costs to apply it again, too.
        self._index.open.count += 1
        self._index.needs.hide(first, row.queue, row.length, log_time_ms)

    def reveal(self, key: HiddenKey, log_time_ms: int) -> Offset:
        """Make a row's batch visible at the end of its queue, which is there; return where."""
        row = self.table.delete(key)
        queue = self._queues.get(row.queue)
        assert queue is not None, f"{row} has no queue to become visible in"
        first = self._leave(row)
        index = self._index
        base = self._queues.extend(queue, row.count)
        open_range = index.open
        open_range.postings_of(row.queue).append(
            *(base, row.count, log_time_ms, row.record_time_ms),
            *(row.index, row.position, row.length),
        )
        open_range.count += 1
        if first == open_range.first_index:
            index.needs.release(first, row.queue, row.length)
        else:
            end = Offset(base + row.count)
            index.needs.reveal(first, row.queue, row.length, end, log_time_ms)
        self._on_revealed(row.queue)
        return base

    def drop(self, key: HiddenKey) -> HiddenBatch:
        """Forget a row and its batch; return it as it was."""
        row = self.table.delete(key)
        if row.index > self._index.trimmed:
            self._index.needs.release(self._leave(row), row.queue, row.length)
        else:  # nothing of a closed queue is needed, so its range may have gone before it
            assert self._queues.get(row.queue) is None, f"{row} was trimmed"
        return row

    def relocate(
        self, key: HiddenKey, old: tuple[Index, int], new: tuple[Index, int], log_time_ms: int
    ) -> bool:
        """Point a row to a copy of its batch in the entry that is being applied.

        Only if it is there and still points to ``old``, where the copy was read; return
        whether.
        """
        row = self.table.rows.get(key)
        if row is None or (row.index, row.position) != old or self._queue_of(row) is None:
            return False
        self.table.touch(key)
        needs, first = self._index.needs, self._index.open.first_index
        needs.release(self._leave(row), row.queue, row.length)
        row.index, row.position = new
        needs.hide(first, row.queue, row.length, log_time_ms)
        self._moved.setdefault(first, {})[key] = None
        return True

    def _queue_of(self, row: HiddenBatch) -> Queue | None:
        return self._queues.get(row.queue)

    def _leave(self, row: HiddenBatch) -> Index:
        """Take a row out of the range that its body lies in; return the range's first index."""
        first = self._index.range_of(row.index)
        if row.is_moved:
            moved = self._moved[first]
            del moved[row.key]
            if not moved:
                del self._moved[first]
        return first

    # -- closed queues

    def close(self, queue: int) -> None:
        """A queue was closed: its rows go from now on."""
        if next(self.of_queue(queue), None) is not None:
            self._closed = sorted([*self._closed, queue])
            self._set_due()

    def do_next(self, due_ms: int, log_time_ms: int) -> bool:
        """Let a few rows go, once at each log time; tell whether there were any."""
        rows: list[HiddenBatch] = []
        while self._closed and not rows:
            rows = list(islice(self.of_queue(self._closed[0]), CLEARED_AT_ONCE))
            if not rows:
                del self._closed[0]
        is_due = bool(rows) and due_ms > self.cleared_ms
        if is_due:
            self.cleared_ms = log_time_ms
            for row in rows:
                self.drop(row.key)
                self._on_lost[row.holder](row)
        self._set_due()
        return is_due

    def _set_due(self) -> None:
        self.due_ms = self.cleared_ms + 1 if self._closed else NEVER_MS
        self._timetable.note(self.due_ms)

    # -- looking

    def in_range(self, first: Index, last: Index, count: int) -> list[HiddenBatch]:
        """Return up to ``count`` rows, of queues that are there, whose bodies lie in a range.

        It takes time for what is found, and for what was stored there and was moved since.
        """
        found: list[HiddenBatch] = []
        end = int(last) + 1 << POSITION_BITS
        for need in self._index.needs.of_range(first):
            if not need.hidden or self._queues.get(need.queue) is None:
                continue
            for row in self.of_queue(need.queue, (int(first) << POSITION_BITS) - 1):
                if row.id >= end or len(found) >= count:
                    break
                if not row.is_moved:
                    found.append(row)
        for key in islice(self._moved.get(first, {}), count - len(found)):
            row = self.table.rows[key]
            if self._queue_of(row) is not None:
                found.append(row)
        return found
