"""The queue index: what apply decided about one range of the log (ruling 3).

It is state, not a cache. An offset is the outcome of apply, so the index can be
made again only by applying again; a replica that rebuilt it from a trimmed log
would serve other records at the same offset than its peers.

::

    sealed range 1 ........ sealed range 2 ........ open range
    entries 1 .. 8 211      8 212 .. 15 900         15 901 ..      (log indexes)
    [ file, summary here ]  [ file, summary here ]  [ packed arrays in memory ]

The open range is a handful of packed arrays, about 44 bytes a posting. It is
cut after the entry with which it passes 64 MiB of entry bodies or 65 536
postings: points that only the log decides, so every replica cuts at the same
ones and a sealed range is the same bytes everywhere. Sealed means encoded once
and never changed; of a sealed range that is stored, only its summary stays in
memory. The file's bytes are defined in ``broker.ranges``.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Final

import msgspec

from raftlog.base.ids import Index, Offset
from raftlog.base.limits import MIB

RANGE_BODY_BYTES: Final = 64 * MIB
"""Entry bodies in one range, the entry that passes it included."""
RANGE_POSTINGS: Final = 65_536
"""Postings in one range, the entry that passes it included."""

assert sys.byteorder == "little", "packed arrays are written as they lie in memory"


class Posting(msgspec.Struct, frozen=True, gc=False):
    """One batch of a queue: its offsets, its times, and where its bytes lie.

    ``position`` counts from the first byte of the body of entry ``index``.
    """

    base_offset: Offset
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


class Postings:
    """The postings of one queue in one range, as columns in offset order.

    Only grows, at its end, and only while its range is open.
    """

    __slots__ = (
        "base_offsets",
        "counts",
        "indexes",
        "lengths",
        "log_times_ms",
        "positions",
        "record_times_ms",
    )

    def __init__(self) -> None:
        self.base_offsets = array("Q")
        self.counts = array("I")
        self.log_times_ms = array("Q")
        self.record_times_ms = array("q")
        self.indexes = array("Q")
        self.positions = array("I")
        self.lengths = array("I")

    @property
    def columns(self) -> tuple["array[int]", ...]:
        """The arrays, in the order of the file."""
        return (
            self.base_offsets,
            self.counts,
            self.log_times_ms,
            self.record_times_ms,
            self.indexes,
            self.positions,
            self.lengths,
        )

    def append(
        self,
        base_offset: int,
        count: int,
        log_time_ms: int,
        record_time_ms: int,
        index: int,
        position: int,
        length: int,
    ) -> None:
        """Add the next batch (plain values: this is called for every batch ever stored)."""
        self.base_offsets.append(base_offset)
        self.counts.append(count)
        self.log_times_ms.append(log_time_ms)
        self.record_times_ms.append(record_time_ms)
        self.indexes.append(index)
        self.positions.append(position)
        self.lengths.append(length)

    def __len__(self) -> int:
        """Count the postings."""
        return len(self.base_offsets)

    def __getitem__(self, position: int) -> Posting:
        """Return the posting at ``position``."""
        return Posting(
            Offset(self.base_offsets[position]),
            self.counts[position],
            self.log_times_ms[position],
            self.record_times_ms[position],
            Index(self.indexes[position]),
            self.positions[position],
            self.lengths[position],
        )

    @property
    def base_offset(self) -> Offset:
        """The first offset; there is at least one posting."""
        return Offset(self.base_offsets[0])

    @property
    def end_offset(self) -> Offset:
        """The offset after the last one; there is at least one posting."""
        return Offset(self.base_offsets[-1] + self.counts[-1])

    @property
    def log_time_ms(self) -> int:
        """The log time of the last one; there is at least one posting."""
        return self.log_times_ms[-1]

    @property
    def batch_bytes(self) -> int:
        """The length of the batches together."""
        return sum(self.lengths)

    def find(self, offset: Offset) -> int:
        """Return the position of the posting that holds ``offset``."""
        position = bisect_right(self.base_offsets, offset) - 1
        assert position >= 0, f"offset {offset} is before {self.base_offsets[0]}"
        assert offset < self.end_offset, f"offset {offset} is not before {self.end_offset}"
        return position


POSTING_BYTES: Final = sum(column.itemsize for column in Postings().columns)
assert [column.itemsize for column in Postings().columns] == [8, 4, 8, 8, 8, 4, 4]


class QueueSpan(msgspec.Struct, frozen=True, gc=False):
    """What one range holds of one queue.

    ``batch_bytes`` is the length of its batches together, ``log_time_ms`` that
    of the last one.
    """

    queue: int
    base_offset: Offset
    end_offset: Offset
    postings: int
    batch_bytes: int
    log_time_ms: int


class RangeSummary(msgspec.Struct, frozen=True, gc=False):
    """All that stays in memory of a sealed range that is stored.

    ``checksum`` covers the whole file; with ``first_index`` it is the range's
    name among replicas.
    """

    first_index: Index
    last_index: Index
    log_time_ms: int
    checksum: int
    queues: tuple[QueueSpan, ...]


class SealedRange:
    """A range just cut: its postings until it is stored, and its file's bytes.

    A cut has to be short, and a range may have records of ten thousand queues:
    so the bytes, and with them the summary, are made when they are first asked
    for. That takes tens of milliseconds and may be done on another thread,
    because nothing changes any more.
    """

    __slots__ = ("_made", "_make", "first_index", "last_index", "postings")

    def __init__(
        self,
        range_: "OpenRange",
        last_index: Index,
        make: Callable[[], tuple[RangeSummary, bytes]],
    ) -> None:
        self.first_index: Final = range_.first_index
        self.last_index: Final = last_index
        self.postings: Final = range_.postings
        self._make: Final = make
        self._made: tuple[RangeSummary, bytes] | None = None

    @property
    def summary(self) -> RangeSummary:
        """What stays in memory of it."""
        return self._bytes_made()[0]

    @property
    def encoded(self) -> bytes:
        """The content of its file."""
        return self._bytes_made()[1]

    def _bytes_made(self) -> tuple[RangeSummary, bytes]:
        made = self._made
        if made is None:
            made = self._made = self._make()
        return made


class OpenRange:
    """The range that entries are being applied to, from ``first_index`` on."""

    __slots__ = ("body_bytes", "count", "first_index", "postings")

    def __init__(self, first_index: Index) -> None:
        self.first_index: Final = first_index
        self.postings: Final[dict[int, Postings]] = {}
        self.body_bytes = 0
        self.count = 0

    def postings_of(self, queue: int) -> Postings:
        """Return the queue's postings, to append to."""
        found = self.postings.get(queue)
        if found is None:
            found = self.postings[queue] = Postings()
        return found

    @property
    def is_full(self) -> bool:
        """Whether the range ends with the entry that was applied last."""
        return self.body_bytes >= RANGE_BODY_BYTES or self.count >= RANGE_POSTINGS


class RangeDirectory:
    """Which sealed range holds what of one queue."""

    __slots__ = ("_bases", "_bytes", "_ranges", "_times_ms")

    def __init__(self) -> None:
        self._bases = array("Q")
        self._times_ms = array("Q")
        self._bytes = array("Q")
        """Bytes of the queue's batches up to and including each range."""
        self._ranges: list[RangeSummary] = []

    def add(self, span: QueueSpan, summary: RangeSummary) -> None:
        """Add the next range that holds records of the queue."""
        assert not self._bases or span.base_offset > self._bases[-1], "ranges out of order"
        self._bases.append(span.base_offset)
        self._times_ms.append(span.log_time_ms)
        self._bytes.append(self.batch_bytes + span.batch_bytes)
        self._ranges.append(summary)

    def forget(self, through: Index) -> bool:
        """Forget the ranges that end at or before ``through``; return whether any is left."""
        ranges = self._ranges
        gone = 0
        while gone < len(ranges) and ranges[gone].last_index <= through:
            gone += 1
        if gone:
            base = self._bytes[gone - 1]
            del self._bases[:gone], self._times_ms[:gone], ranges[:gone]
            self._bytes = array("Q", [size - base for size in self._bytes[gone:]])
        return bool(ranges)

    @property
    def batch_bytes(self) -> int:
        """Bytes of the queue's batches in all of its ranges."""
        return self._bytes[-1] if self._bytes else 0

    def find(self, offset: Offset) -> RangeSummary:
        """Return the range that holds ``offset``, which a sealed range does hold."""
        position = bisect_right(self._bases, offset) - 1
        assert position >= 0, f"offset {offset} is before every range"
        return self._ranges[position]

    def find_time(self, log_time_ms: int) -> RangeSummary | None:
        """Return the first range that holds a batch stored at or after a log time."""
        position = bisect_left(self._times_ms, log_time_ms)
        return self._ranges[position] if position < len(self._ranges) else None

    def find_bytes(self, size: int) -> tuple[RangeSummary, int] | None:
        """Return the range where the newest ``size`` bytes begin, and the bytes behind it.

        None if there are no more than so many.
        """
        before = self.batch_bytes - size
        if before <= 0:
            return None
        position = bisect_left(self._bytes, before)
        return self._ranges[position], self.batch_bytes - self._bytes[position]
