"""One segment: a file of write units, and where the entries lie in it.

::

    header (64 bytes) | unit head | entry frame | entry frame | unit head | ... | zeros

The header names the first index and the entry before it, so the chain goes on
from segment to segment. A full segment is *sealed*: an ``.idx`` file beside it
holds a summary, and position and chain value of every entry. The ``.idx`` is
derived; it is checked against the segment when it is opened, and made again by a
scan if it does not fit. Places in sealed segments are loaded when they are needed.
"""

import struct
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import msgspec
from crc32c import crc32c

from raftlog.base.entry import HEADER, HEADER_BYTES, LogEnd, parse_header
from raftlog.base.errors import CorruptFrame, StorageFailed
from raftlog.base.ids import Index, Term
from raftlog.base.limits import KIB
from raftlog.storage.durable_mark import Claim, claim_done
from raftlog.storage.entry_places import EntryPlaces
from raftlog.storage.files import File, Files

SEGMENT_HEADER_BYTES: Final = 64
_HEADER: Final = struct.Struct("<4sHHQQIQ")
_CRC: Final = struct.Struct("<I")
_BASE: Final = struct.Struct("<QQI")
_MAGIC: Final = b"RLSG"
_VERSION: Final = 1
_SUMMARY: Final = struct.Struct("<4sHHQIIIQQIQI")
_SUMMARY_MAGIC: Final = b"RLIX"
_RUN: Final = struct.Struct("<QQ")
SUMMARY_READ_BYTES: Final = 64 * KIB
SUFFIX: Final = ".seg"
INDEX_SUFFIX: Final = ".idx"


class Hole(msgspec.Struct, frozen=True):
    """Damaged entries ``first`` to ``last``, in ``length`` bytes from ``position`` on.

    A length of 0 means that nothing lies behind them in their segment.
    ``before`` is the entry in front of them; ``checksum`` is what the last of
    them must have, by its own header, its successor or a claim (ruling 20).
    """

    first: Index
    last: Index
    position: int
    length: int
    before: LogEnd
    checksum: int
    term: Term
    terms_known: bool = False
    """Whether nothing is guessed of the terms of the damaged entries."""
    is_blank: bool = False
    """Whether zeros were put in its place, durably, before it is filled piece by piece."""


class Segment:
    """One segment of a log. Positions are offsets in the file."""

    def __init__(self, file: File, directory: str, base: LogEnd) -> None:
        self.file = file
        self.directory = directory
        self.base = base
        """The entry before the first one."""
        self.salt = salt_of(base)
        """What the checksums of its unit heads begin with: a head of another log is none here."""
        self.end = base
        self.end_position = SEGMENT_HEADER_BYTES
        self.term_runs: list[tuple[Index, Term]] = []
        self.places: EntryPlaces | None = EntryPlaces()
        """Of its entries; None while they are only in the ``.idx``."""
        self.changes = 0
        """Times that entries were moved or cut: what was read before is void."""
        self.unit_starts: array[int] | None = array("I")
        """Where unit heads lie; known for segments that were written or scanned."""
        self.holes: list[Hole] = []
        self.sealed = False
        self.index_fits = True
        """Whether an ``.idx``, if there is one, says where the entries lie: a repair of what a
        scan found may put them elsewhere."""
        self.claim: Claim | None = None
        """What its ``.idx`` says: written when all of it was durable, so it is a claim."""
        self.removed = False
        self.pins = 0

    @property
    def first_index(self) -> Index:
        """Index of the first entry, whether it exists yet or not."""
        return Index(self.base.index + 1)

    @property
    def path(self) -> str:
        """The segment's file."""
        return f"{self.directory}/{segment_name(self.first_index)}"

    @property
    def index_path(self) -> str:
        """The file with the positions, once sealed."""
        return self.path.removesuffix(SUFFIX) + INDEX_SUFFIX

    def unpin(self) -> None:
        """Let go; a segment that was dropped is closed by whoever lets go last."""
        self.pins -= 1
        if self.removed and not self.pins:
            self.file.close()

    def drop(self) -> None:
        """Forget the segment; readers that hold it go on reading."""
        self.removed = True
        if not self.pins:
            self.file.close()

    def hole_at(self, index: Index) -> Hole | None:
        """Return the damage that ``index`` is part of."""
        for hole in self.holes:
            if hole.first <= index <= hole.last:
                return hole
        return None

    def checksum_at(self, index: Index) -> int | None:
        """Return the chain value of an entry; None if it is not here, damaged, or was not read."""
        if not self.base.index < index <= self.end.index:
            return None
        if index == self.end.index:
            return self.end.checksum
        if self.places is None or self.hole_at(index) is not None:
            return None
        return self.places.checksums[index - self.first_index]

    def term_of(self, index: Index) -> Term:
        """Return the term of an entry, or of the one before the first."""
        if index == self.base.index:
            return self.base.term
        runs = self.term_runs
        return runs[bisect_right(runs, index, key=lambda run: run[0]) - 1][1]

    def end_at(self, places: EntryPlaces, index: Index) -> LogEnd:
        """Return an entry of the segment, or the one before its first, as the log's end."""
        if index <= self.base.index:
            return self.base
        return LogEnd(index, self.term_of(index), places.checksums[index - self.first_index])

    def lose_tail(self, end: LogEnd) -> None:
        """Note that the entries after the segment's end, up to ``end``, are missing."""
        before = self.end
        self.holes.append(
            Hole(
                *(Index(before.index + 1), end.index, self.end_position, 0),
                *(before, end.checksum, end.term),
                terms_known=end.term == before.term or end.index == before.index + 1,
            )
        )
        if self.places is not None:
            self.places.lose(end.index - before.index, self.end_position, end.checksum)
        if end.term != before.term or not self.term_runs:
            self.term_runs.append((Index(before.index + 1), end.term))
        self.end = end

    def learn_holes(self, found: "list[Hole]") -> None:
        """Take in damage that a scan met; it knows better than single reads."""
        known = [
            hole
            for hole in self.holes
            if not any(new.first <= hole.last and hole.first <= new.last for new in found)
        ]
        self.holes = sorted([*known, *found], key=lambda hole: hole.first)

    def forget_after(self, places: EntryPlaces, to: LogEnd) -> int:
        """Forget every entry after ``to``; return where the file is to be cut. May block."""
        self.changes += 1
        cut = to.index - self.base.index
        hole = self.hole_at(to.index)
        if hole is not None and hole.last > to.index:
            # Where the kept part of the damage ends is not known, so nothing may follow it here.
            self.holes.remove(hole)
            hole = Hole(
                *(hole.first, to.index, hole.position, 0),
                *(hole.before, to.checksum, to.term, hole.terms_known),
            )
            self.holes.append(hole)
        position = SEGMENT_HEADER_BYTES
        if hole is not None:
            position = hole.position + hole.length
        elif cut:
            position = self.true_end_of(places.positions, to.index)
        places.cut(cut)
        self.unit_starts = array("I", [at for at in self.unit_starts or () if at < position])
        self.end_position = position
        self.end = to
        self.term_runs = [run for run in self.term_runs if run[0] <= to.index]
        self.holes = [hole for hole in self.holes if hole.first <= to.index]
        return position

    def extent(self, positions: "array[int]", first: Index, last: Index, bytes_max: int) -> Index:
        """Return the last index up to ``last`` such that ``first``.. fits, at least ``first``."""
        base = self.first_index
        last = min(last, self.end.index)
        for hole in self.holes:
            if hole.first > first:
                last = min(last, Index(hole.first - 1))
        start = positions[first - base]
        stop = bisect_right(positions, start + bytes_max, first - base, last - base + 1)
        end = self.end_of(positions, last)
        if stop > last - base and end - start <= bytes_max:
            return last
        return Index(max(first, base + stop - 2))

    def end_of(self, positions: "array[int]", index: Index) -> int:
        """Return the position after the entry at ``index`` (unit heads in between included)."""
        following = index + 1 - self.first_index
        return positions[following] if following < len(positions) else self.end_position

    def true_end_of(self, positions: "array[int]", index: Index) -> int:
        """Return the position after the entry's own frame, before any unit head. May block."""
        end = self.end_of(positions, index)
        start = positions[index - self.first_index]
        if self.unit_starts is not None:
            at = bisect_right(self.unit_starts, start)
            return min(end, self.unit_starts[at]) if at < len(self.unit_starts) else end
        length: int = HEADER.unpack_from(self.file.pread(HEADER_BYTES, start), 0)[3]
        return min(end, start + HEADER_BYTES + length)


def salt_of(base: LogEnd) -> int:
    """Return the salt of a segment behind ``base``."""
    return crc32c(_BASE.pack(base.index, base.term, base.checksum))


def joined_runs(segments: Sequence[Segment]) -> list[tuple[Index, Term]]:
    """Return the runs of equal terms in consecutive segments."""
    runs: list[tuple[Index, Term]] = []
    for segment in segments:
        for first, term in segment.term_runs:
            if not runs or runs[-1][1] != term:
                runs.append((first, term))
    return runs


def segment_name(first: Index) -> str:
    """Return the file name of the segment that begins with ``first``."""
    return f"{first:020d}{SUFFIX}"


def first_index_of(path: str) -> Index:
    """Return the index with which the segment of this path, or of this name, begins."""
    return Index(int(path.rpartition("/")[2].removesuffix(SUFFIX)))


def encode_header(base: LogEnd, unit: int) -> bytes:
    """Return a segment's first bytes: the log ended at ``base`` when ``unit`` was done."""
    head = _HEADER.pack(_MAGIC, _VERSION, 0, base.index, base.term, base.checksum, unit)
    head += _CRC.pack(crc32c(head))
    return head.ljust(SEGMENT_HEADER_BYTES, b"\0")


def parse_segment_header(data: bytes) -> Claim | None:
    """Return what a segment says of the log before it; None if the header is bad."""
    if len(data) < _HEADER.size + _CRC.size:
        return None
    magic, version, _, index, term, checksum, unit = _HEADER.unpack_from(data, 0)
    crc = _CRC.unpack_from(data, _HEADER.size)[0]
    if magic != _MAGIC or version != _VERSION or crc != crc32c(data[: _HEADER.size]):
        return None
    return claim_done(unit, LogEnd(Index(index), Term(term), checksum))


def header_of(file: File) -> Claim | None:
    """Return what a segment's header says of the log before it; None if it is bad or misplaced."""
    try:
        header = parse_segment_header(file.pread(SEGMENT_HEADER_BYTES, 0))
    except OSError:
        return None
    fits = header is not None and header.index + 1 == first_index_of(file.path)
    return header if fits else None


def encode_index(segment: Segment, unit: int) -> bytes:
    """Return the ``.idx`` of a segment without damage, whose last unit is ``unit``."""
    known = segment.places
    assert known is not None, "a segment is sealed while its places are in memory"
    positions = known.positions
    places = positions.tobytes() + known.checksums.tobytes()
    end = segment.end
    summary = _SUMMARY.pack(
        *(_SUMMARY_MAGIC, _VERSION, 0, segment.first_index, len(positions)),
        *(segment.end_position, positions[-1] if positions else 0),
        *(end.index, end.term, end.checksum, unit, len(segment.term_runs)),
    )
    summary += b"".join(_RUN.pack(*run) for run in segment.term_runs)
    return b"".join((summary, _CRC.pack(crc32c(summary)), places, _CRC.pack(crc32c(places))))


def store_index(files: Files, path: str, data: bytes) -> None:
    """Write an ``.idx``. Not synced: it is made again from its segment if it is lost."""
    file = files.open(path, create=True)
    try:
        file.truncate(0)
        file.pwrite([data], 0)
    finally:
        file.close()


def remove_index(files: Files, path: str) -> bool:
    """Take an ``.idx`` away; whether there was one. The directory is the caller's to sync."""
    found = files.exists(path)
    if found:
        files.remove(path)
    return found


def open_sealed(files: Files, segment: Segment) -> bool:
    """Fill ``segment`` from its ``.idx``; False if there is none that fits the segment."""
    if not files.exists(segment.index_path):
        return False
    file = files.open(segment.index_path)
    try:
        data = file.pread(SUMMARY_READ_BYTES, 0)
        if not _read_summary(segment, data):
            return False
        last = segment.file.pread(HEADER_BYTES, _last_position(data))
        header, _, _ = parse_header(last, 0)
    except (OSError, CorruptFrame, struct.error):
        return False
    finally:
        file.close()
    if header.end != segment.end:
        return False
    segment.places = None
    segment.unit_starts = None
    segment.sealed = True
    return True


def _read_summary(segment: Segment, data: bytes) -> bool:
    magic, version, _, first, count, end_position, _, index, term, checksum, unit, runs = (
        _SUMMARY.unpack_from(data, 0)
    )
    stop = _SUMMARY.size + runs * _RUN.size
    if magic != _SUMMARY_MAGIC or version != _VERSION or first != segment.first_index:
        return False
    if stop + _CRC.size > len(data) or not count or count != index + 1 - first:
        return False
    if _CRC.unpack_from(data, stop)[0] != crc32c(data[:stop]):
        return False
    segment.end = LogEnd(Index(index), Term(term), checksum)
    segment.end_position = end_position
    segment.claim = claim_done(unit, segment.end)
    segment.term_runs = [
        (Index(at), Term(run)) for at, run in _RUN.iter_unpack(data[_SUMMARY.size : stop])
    ]
    return True


def _last_position(data: bytes) -> int:
    position: int = _SUMMARY.unpack_from(data, 0)[6]
    return position


def places_from_index(files: Files, segment: Segment) -> EntryPlaces | None:
    """Read where a sealed segment's entries lie from its ``.idx``; None if that is bad.

    Also if it cannot be opened: it may be removed at this moment, or the process may
    be out of descriptors. The segment itself is open, and says the same.
    """
    try:
        if not files.exists(segment.index_path):
            return None
        file = files.open(segment.index_path)
    except StorageFailed:
        return None
    try:
        data = file.pread(file.size(), 0)
    except OSError:
        return None
    finally:
        file.close()
    count = segment.end.index - segment.base.index
    start = _SUMMARY.size + len(segment.term_runs) * _RUN.size + _CRC.size
    places = data[start : start + 8 * count]
    stop = start + len(places)
    if len(data) < stop + _CRC.size or _CRC.unpack_from(data, stop)[0] != crc32c(places):
        return None
    positions, checksums = array("I"), array("I")
    positions.frombytes(places[: 4 * count])
    checksums.frombytes(places[4 * count :])
    # A misdirected write may have put another segment's here, whole and of as many entries.
    if not count or checksums[-1] != segment.end.checksum:
        return None
    return EntryPlaces(positions, checksums)


def keep_whole(segment: Segment, size: int) -> None:
    """Reserve the whole of the segment that is written to: appends must not change its size.

    A size that grows has to be journalled by every fdatasync (ruling 24).
    """
    if not segment.sealed and segment.file.size() < size:
        segment.file.allocate(size)
        segment.file.sync()
