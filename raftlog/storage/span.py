"""Pinned places in the log that can be read from any thread (ruling 17).

A span holds its segment: a trim may take the segment's name away meanwhile,
the bytes stay until the span is closed. ``read(wait=False)`` answers at once
or returns None, when a disk would have to be waited for; then the reader
thread asks again with ``wait=True``.

Only the loop changes a segment. Where entries lie is found out by ``read``, on
any thread, and handed to the segment by ``learn`` or ``close``, unless that has
changed meanwhile::

    reader thread   reads the .idx: 1..100 ------------------> learn: too late
    loop                    truncates to 95, appends 96, 97 ...
"""

from collections.abc import Sequence

import msgspec

from raftlog.base.entry import HEADER, HEADER_BYTES, Buffer, Entry, parse_entry
from raftlog.base.errors import CorruptFrame, FaultyEntry
from raftlog.base.ids import Index
from raftlog.storage.entry_places import EntryPlaces
from raftlog.storage.files import Files
from raftlog.storage.scan import SegmentScan
from raftlog.storage.segment import Hole, Segment, places_from_index


class Place(msgspec.Struct, frozen=True, gc=False):
    """Some bytes in the body of an entry."""

    index: Index
    offset: int
    length: int


class FoundPlaces(msgspec.Struct, frozen=True):
    """Where a segment's entries lie, and damage that nobody knew of."""

    places: EntryPlaces
    holes: tuple[Hole, ...] = ()

    def tell(self, segment: Segment) -> None:
        """Let the segment know. On the loop."""
        # Whoever reads what is damaged will be told, and have it repaired.
        segment.learn_holes(list(self.holes))
        segment.index_fits = segment.index_fits and not self.holes
        segment.places = self.places


def find_places(files: Files, segment: Segment) -> FoundPlaces:
    """Read the ``.idx``, or scan the segment if need be. Blocks; changes nothing."""
    places = places_from_index(files, segment)
    if places is not None:
        return FoundPlaces(places)
    again = Segment(segment.file, segment.directory, segment.base)
    SegmentScan(again, [segment.end]).run()
    if again.end.index >= segment.end.index and again.end != segment.end:
        # Another log than the one that was sealed here, from nobody knows which entry on.
        again = Segment(segment.file, segment.directory, segment.base)
    if again.end.index < segment.end.index:
        again.lose_tail(segment.end)
    assert again.places is not None, "a scan finds places"
    return FoundPlaces(again.places, tuple(again.holes))


def load_places(files: Files, segment: Segment) -> EntryPlaces:
    """Return where the entries lie. On the loop; may block."""
    if segment.places is None:
        find_places(files, segment).tell(segment)
    assert segment.places is not None, "just loaded"
    return segment.places


class _Pinned:
    """A segment that stays open until ``close``."""

    def __init__(self, files: Files, segment: Segment) -> None:
        segment.pins += 1
        self._files = files
        self._segment = segment
        self._changes = segment.changes
        self._found: FoundPlaces | None = None
        self._open = True

    def learn(self) -> None:
        """Hand to the segment what ``read`` found out about it. Idempotent; on the loop."""
        found, self._found = self._found, None
        segment = self._segment
        if found is not None and segment.places is None and segment.changes == self._changes:
            found.tell(segment)

    def close(self) -> None:
        """Let go of the segment. Idempotent; on the loop."""
        if self._open:
            self._open = False
            self.learn()
            self._segment.unpin()

    def _entry_places(self) -> EntryPlaces:
        places = self._segment.places
        if places is not None:
            return places
        if self._found is None:
            self._found = find_places(self._files, self._segment)
        return self._found.places

    def _ready(self, *, wait: bool) -> bool:
        return wait or self._segment.places is not None

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
        self._checksums: Sequence[int] = ()

    def read(self, *, wait: bool) -> Buffer | None:
        """Return the bytes; None if ``wait`` is false and a disk would have to be waited for.

        Raises:
            OSError: They cannot be read.
        """
        if not self._ready(wait=wait):
            return None
        segment = self._segment
        places = self._entry_places()
        positions = places.positions
        first, base = self._first, segment.first_index
        if first - base >= len(positions):
            return b""  # truncated since it was located
        last = segment.extent(positions, first, self._last, self._bytes_max)
        start = positions[first - base]
        self._offsets = [at - start for at in positions[first - base : last - base + 1]]
        self._checksums = places.checksums[first - base : last - base + 1]
        end = segment.end_of(positions, last)
        try:
            return self._pread(end - start, start, wait=wait)
        except OSError:
            # Somewhere in all that. Whether the first entry is bad, its own bytes say alone.
            del self._offsets[1:]
            return self._read_frame(start, min(end, segment.end_of(positions, first)), wait=wait)

    def _read_frame(self, start: int, end: int, *, wait: bool) -> bytes | None:
        """Read one frame, which ends at ``end`` or before, and nothing behind it."""
        header = self._pread(HEADER_BYTES, start, wait=wait)
        if header is None or len(header) < HEADER_BYTES:
            return header
        length: int = HEADER.unpack_from(header, 0)[3]
        return self._pread(min(end, start + HEADER_BYTES + length) - start, start, wait=wait)

    def entries(self, buffer: Buffer) -> tuple[Entry, ...]:
        """Return the verified entries of what was read, as far as they are the stored ones.

        None at all if they were truncated between ``locate`` and ``read``.

        Raises:
            FaultyEntry: The first one is bad, or another. Mark it, and fetch it from a peer.
        """
        self.learn()
        found: list[Entry] = []
        for offset, checksum in zip(self._offsets, self._checksums, strict=False):
            try:
                entry = parse_entry(buffer, offset)
            except CorruptFrame:
                break
            if entry.checksum != checksum:
                break  # a good frame, but not this one: a misdirected write, or a lost one
            found.append(entry)
        if not found and self._offsets:
            raise FaultyEntry(self._first)
        return tuple(found)


def good_from(segment: Segment, places: Sequence[Place]) -> Sequence[Place]:
    """Return ``places``, of which the first is good, up to one elsewhere or damaged."""
    taken = 1
    while taken < len(places) and places[taken].index <= segment.end.index:
        if segment.holes and segment.hole_at(places[taken].index) is not None:
            break
        taken += 1
    return places[:taken]


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
        positions = self._entry_places().positions
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
        try:
            data = self._pread(length, start, wait=wait)
        except OSError:
            if count == 1:
                raise
            count = 1  # somewhere in all that: whether the first is bad it says by itself
            data = self._pread(self._places[0].length, start, wait=wait)
        if data is None:
            return None
        view = memoryview(data)
        return [
            view[at - start : at - start + place.length]
            for at, place in zip(starts[:count], self._places[:count], strict=True)
        ]
