"""The queue index: what apply decided about one range of the log (ruling 3).

It is state, not a cache. An offset is the outcome of apply, so the index can be
made again only by applying again; a replica that rebuilt it from a trimmed log
would serve other records at the same offset than its peers.

::

    sealed range 1 ........ sealed range 2 ........ open range
    entries 1 .. 8 211      8 212 .. 15 900         15 901 ..      (log indexes)
    [ file, summary here ]  [ file, summary here ]  [ packed rows in memory ]

The open range is one array for each queue in it, 56 bytes a posting. It is
cut after the entry with which it passes 64 MiB of entry bodies or 65 536
postings: points that only the log decides, so every replica cuts at the same
ones and a sealed range is the same bytes everywhere. Sealed means encoded once
and never changed; of a sealed range that is stored, only its summary stays in
memory. The file's bytes are defined in ``broker.ranges``.
"""

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
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
    """The postings of one queue in one range, in offset order.

    A batch lies in the range's own entries, in the order of its offset, or, if it was hidden for
    a while (``broker.hidden``), somewhere before.

    Only grows, at its end, and only while its range is open. They lie as rows of seven 64-bit
    numbers in one array: a range may have postings of ten thousand queues and few of each, and
    an array for each column, made and grown, took five times as long.
    """

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows = array("q")

    @classmethod
    def of(cls, columns: Buffer, count: int) -> "Postings":
        """Return ``count`` postings from the columns of a file."""
        postings = cls()
        rows = postings._rows = array("q", bytes(_ROW.size * count))
        view = memoryview(columns)
        for place, code in enumerate(_COLUMNS):
            column = array(code)
            size = column.itemsize * count
            column.frombytes(view[:size])
            rows[place::_FIELDS] = column if code == "q" else array("q", column)
            view = view[size:]
        return postings

    @property
    def columns(self) -> tuple["array[int]", ...]:
        """What a file has of them, in its order: a copy."""
        rows = self._rows
        return tuple(
            rows[place::_FIELDS] if code == "q" else array(code, rows[place::_FIELDS])
            for place, code in enumerate(_COLUMNS)
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
        self._rows.frombytes(
            _ROW.pack(base_offset, count, log_time_ms, record_time_ms, index, position, length)
        )

    def __len__(self) -> int:
        """Count the postings."""
        return len(self._rows) // _FIELDS

    def __getitem__(self, position: int) -> Posting:
        """Return the posting at ``position``."""
        at = range(0, len(self._rows), _FIELDS)[position]
        base, count, log_time_ms, record_time_ms, index, place, length = self._rows[
            at : at + _FIELDS
        ]
        return Posting(
            *(Offset(base), count, log_time_ms, record_time_ms),
            *(Index(index), place, length),
        )

    @property
    def base_offset(self) -> Offset:
        """The first offset; there is at least one posting."""
        return Offset(self._rows[0])

    @property
    def end_offset(self) -> Offset:
        """The offset after the last one; there is at least one posting."""
        return Offset(self._rows[-_FIELDS] + self._rows[1 - _FIELDS])

    @property
    def log_time_ms(self) -> int:
        """The log time of the last one; there is at least one posting."""
        return self._rows[2 - _FIELDS]

    @property
    def log_times_ms(self) -> "array[int]":
        """The log time of each: a copy."""
        return self._rows[2::_FIELDS]

    @property
    def lengths(self) -> "array[int]":
        """The length of each batch: a copy."""
        return self._rows[6::_FIELDS]

    @property
    def batch_bytes(self) -> int:
        """The length of the batches together."""
        return sum(self.lengths)

    def index_at(self, position: int) -> Index:
        """Return which entry holds the batch at ``position``."""
        return Index(self._rows[_FIELDS * position + 4])

    def indexes(self, first: int, after: int) -> "array[int]":
        """Return which entry holds each batch from ``first`` to before ``after``."""
        return self._rows[_FIELDS * first + 4 : _FIELDS * after : _FIELDS]

    def offsets(self, first: int, after: int) -> "array[int]":
        """Return the base offset of each batch from ``first`` to before ``after``."""
        return self._rows[_FIELDS * first : _FIELDS * after : _FIELDS]

    def places(self, first: int, after: int) -> Iterator[tuple[int, int, int]]:
        """Return entry, position and length of each batch from ``first`` to before ``after``."""
        some = self._rows[_FIELDS * first : _FIELDS * after]
        return zip(some[4::_FIELDS], some[5::_FIELDS], some[6::_FIELDS], strict=True)

    def find(self, offset: Offset) -> int:
        """Return the position of the posting that holds ``offset``."""
        rows = self._rows
        places = range(0, len(rows), _FIELDS)
        position = bisect_right(places, int(offset), key=rows.__getitem__) - 1
        assert position >= 0, f"offset {offset} is before {self.base_offset}"
        assert offset < self.end_offset, f"offset {offset} is not before {self.end_offset}"
        return position


_COLUMNS: Final = "qIqqqII"
"""The fields of a posting, in their order, as a file has them."""
_FIELDS: Final = len(_COLUMNS)
_ROW: Final = struct.Struct(f"<{_FIELDS}q")
POSTING_BYTES: Final = sum(array(code).itemsize for code in _COLUMNS)
"""Of a file."""
assert [array(code).itemsize for code in _COLUMNS] == [8, 4, 8, 8, 8, 4, 4]


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
    def base_offset(self) -> Offset:
        """Where the first of the ranges begins; there is at least one."""
        return Offset(self._bases[0])

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
