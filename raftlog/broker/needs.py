"""Bodies in old ranges of the log that are still needed there (ruling 7).

A posting says which offsets a range's entries gave out, and as a rule the bodies lie in
that very range. Not so where a batch became visible long after it was stored::

    range 1             range 5             range 9 (open)
    body of b <-------- posting of b
    body of h           (h is hidden: nobody has a posting of it yet)

Range 1 is needed as long as ``h`` is hidden, and as long as the queue's start has not
passed the posting of ``b``, which retention counts from when it became *visible*. For each
range and queue that is one row: how much of it is hidden, and where the last posting ends
that points into it from a later range. A row goes with its range, or before when nothing is
hidden any more and no later range has pointed into it.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from raftlog.base.ids import Index, Offset
from raftlog.broker.table import Table


class RangeNeed(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """What one queue needs of one range, beside what the range's own postings say. A row."""

    first_index: Index
    """Of the range."""
    queue: int
    hidden: int = 0
    """Hidden batches whose bodies lie in the range."""
    hidden_bytes: int = 0
    visible_end: Offset = Offset(0)
    """Where the last posting ends that points into the range from a later one; 0: none does."""
    time_ms: int = 0
    """Log time of the last thing that was hidden here, or became visible."""
    range_bytes: int = 0
    """Of the bodies of the range's entries, known when it was sealed."""


class Needs:
    """Who needs which range of one shard's log, by the range's first index and queue."""

    def __init__(self) -> None:
        self.table: Final[Table[tuple[int, int], RangeNeed]] = Table()

    def load(self, rows: Iterable[RangeNeed]) -> None:
        """Start from a snapshot."""
        self.table.load(((row.first_index, row.queue), row) for row in rows)

    def hide(self, first: Index, queue: int, size: int, log_time_ms: int) -> None:
        """A hidden batch of so many bytes lies in the range that begins with ``first``."""
        row = self.table.rows.get((first, queue))
        if row is None:
            row = RangeNeed(first, queue)
            self.table.put((first, queue), row)
        else:
            self.table.touch((first, queue))
        row.hidden += 1
        row.hidden_bytes += size
        row.time_ms = log_time_ms

    def release(self, first: Index, queue: int, size: int) -> None:
        """A batch that was hidden there is not any more, or lies elsewhere."""
        row = self._touched(first, queue)
        row.hidden -= 1
        row.hidden_bytes -= size
        if not row.hidden and not row.visible_end:
            self.table.delete((first, queue))

    def reveal(self, first: Index, queue: int, size: int, end: Offset, log_time_ms: int) -> None:
        """A batch that was hidden there is visible now, by a posting of a later range."""
        row = self._touched(first, queue)
        row.hidden -= 1
        row.hidden_bytes -= size
        row.visible_end = end
        row.time_ms = log_time_ms

    def _touched(self, first: Index, queue: int) -> RangeNeed:
        row = self.table.get((first, queue))
        assert row is not None, f"queue {queue} hides nothing in range {first}"
        assert row.hidden, f"queue {queue} hides nothing any more in range {first}"
        self.table.touch((first, queue))
        return row

    def seal(self, first: Index, size: int) -> None:
        """The range that begins with ``first`` has ended, with bodies of so many bytes."""
        for row in list(self.of_range(first)):
            self.table.touch((row.first_index, row.queue))
            row.range_bytes = size

    def of_range(self, first: Index) -> Iterator[RangeNeed]:
        """Walk through the rows of one range, by queue. Nothing may change meanwhile."""
        for row in self.table.after((first, -1)):
            if row.first_index != first:
                break
            yield row

    def trim(self, through: Index) -> None:
        """The ranges up to ``through`` are forgotten: nobody needs them."""
        gone = []
        for key in self.table.keys_after(None):
            if key[0] > through:
                break
            gone.append(key)
        for key in gone:
            self.table.delete(key)
