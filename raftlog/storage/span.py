"""Pinned places in the log that can be read from any thread (ruling 17).

A span holds its segment: a trim may take the segment's name away meanwhile,
the bytes stay until the span is closed. ``read(wait=False)`` answers at once
or returns None, when a disk would have to be waited for; then the reader
thread asks again with ``wait=True``.
"""

from array import array
from collections.abc import Sequence

import msgspec

from raftlog.base.entry import HEADER_BYTES, Buffer, Entry, parse_entry
from raftlog.base.errors import CorruptFrame, FaultyEntry
from raftlog.base.ids import Index
from raftlog.storage.files import Files
from raftlog.storage.scan import SegmentScan
from raftlog.storage.segment import Segment, positions_from_index


class Place(msgspec.Struct, frozen=True, gc=False):
    """Some bytes in the body of an entry."""

    index: Index
    offset: int
    length: int


def load_positions(files: Files, segment: Segment) -> "array[int]":
    """Return where the entries lie, reading the ``.idx`` or the segment if need be. May block."""
    positions = segment.positions
    if positions is None:
        positions = positions_from_index(files, segment)
    if positions is None:
        again = Segment(segment.file, segment.directory, segment.base)
        SegmentScan(again).run()
        if again.end.index < segment.end.index:
            again.lose_tail(segment.end)
        # Damage that nobody knew of: whoever reads it will be told, and have it repaired.
        segment.learn_holes(again.holes)
        positions = again.positions
        assert positions is not None, "a scan finds positions"
    segment.positions = positions
    return positions


class _Pinned:
    """A segment that stays open until ``close``."""

    def __init__(self, files: Files, segment: Segment) -> None:
        segment.pins += 1
        self._files = files
        self._segment = segment
        self._open = True

    def close(self) -> None:
        """Let go of the segment. Idempotent; on the loop."""
        if self._open:
            self._open = False
            self._segment.unpin()

    def _ready(self, *, wait: bool) -> bool:
        return wait or self._segment.positions is not None

    def _pread(self, length: int, position: int, *, wait: bool) -> bytes | None:
        file = self._segment.file
        return file.pread(length, position) if wait else file.pread_now(length, position)


class ReadSpan(_Pinned):
    """Consecutive entries of one segment."""

    def __init__(
        self, files: Files, segment: Segment, first: Index, last: Index, bytes_max: int
    ) -> None:
        super().__init__(files, segment)
        self._first = first
        self._last = last
        self._bytes_max = bytes_max
        self._offsets: list[int] = []

    def read(self, *, wait: bool) -> Buffer | None:
        """Return the bytes; None if ``wait`` is false and a disk would have to be waited for.

        Raises:
            OSError: They cannot be read.
        """
        if not self._ready(wait=wait):
            return None
        segment = self._segment
        positions = load_positions(self._files, segment)
        first, base = self._first, segment.first_index
        if first - base >= len(positions):
            return b""  # truncated since it was located
        last = segment.extent(positions, first, self._last, self._bytes_max)
        start = positions[first - base]
        self._offsets = [at - start for at in positions[first - base : last - base + 1]]
        return self._pread(segment.end_of(positions, last) - start, start, wait=wait)

    def entries(self, buffer: Buffer) -> tuple[Entry, ...]:
        """Return the verified entries of what was read, as far as they are good.

        None at all if they were truncated between ``locate`` and ``read``.

        Raises:
            FaultyEntry: The first one is bad. Mark it, and fetch it from a peer.
        """
        found: list[Entry] = []
        for number, offset in enumerate(self._offsets):
            try:
                entry = parse_entry(buffer, offset)
            except CorruptFrame:
                break
            if entry.index != self._first + number:
                break  # a good frame in the wrong place: a misdirected write
            found.append(entry)
        if not found and self._offsets:
            raise FaultyEntry(self._first)
        return tuple(found)


class BodySpan(_Pinned):
    """Bytes in the bodies of entries that lie near one another in one segment."""

    def __init__(
        self, files: Files, segment: Segment, places: Sequence[Place], bytes_max: int
    ) -> None:
        super().__init__(files, segment)
        self._places = places
        self._bytes_max = bytes_max

    def read(self, *, wait: bool) -> list[memoryview] | None:
        """Return the bytes of the first few places, at least one; None as in ``ReadSpan.read``.

        The bytes are as they lie on disk: whoever serves them checks them.

        Raises:
            OSError: They cannot be read.
        """
        if not self._ready(wait=wait):
            return None
        positions = load_positions(self._files, self._segment)
        base = self._segment.first_index
        starts = [positions[at.index - base] + HEADER_BYTES + at.offset for at in self._places]
        start = starts[0]
        count = 1
        while (
            count < len(starts)
            and starts[count] + self._places[count].length - start <= self._bytes_max
        ):
            count += 1
        length = starts[count - 1] + self._places[count - 1].length - start
        data = self._pread(length, start, wait=wait)
        if data is None:
            return None
        view = memoryview(data)
        return [
            view[at - start : at - start + place.length]
            for at, place in zip(starts[:count], self._places[:count], strict=True)
        ]
