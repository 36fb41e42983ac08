"""Reading a segment frame by frame, past damage.

Used for the last segment at every start, for a sealed one whose ``.idx`` does
not fit, and by ``log verify``. It finds; it does not judge: whether something
bad is a torn write or damage depends on the watermark (``recovery``).

After a bad frame the scan looks for the next good one. What lies between is a
``Hole``: how many entries, in how many bytes, linking what to what.

A record may hold anything, also a segment of this or another log. Unit heads in
it are not good here, because a head belongs to one place (``unit``). Its entries
are good, but lead nowhere: behind the true entries lies, sooner or later, a true
unit head, or the end that somebody claims.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from crc32c import crc32c

from raftlog.base.entry import (
    FRAME_MAGIC,
    FRAME_VERSION,
    HEADER,
    HEADER_BYTES,
    KINDS,
    Entry,
    LogEnd,
    check_link,
    header_checksum,
    parse_header,
)
from raftlog.base.errors import CorruptFrame
from raftlog.base.ids import Index, Term
from raftlog.base.limits import BLOCK_BYTES, ENTRY_BODY_BYTES_MAX, KIB, SECTOR_BYTES
from raftlog.storage.durable_mark import Claim, Cut
from raftlog.storage.entry_places import EntryPlaces
from raftlog.storage.files import File
from raftlog.storage.segment import SEGMENT_HEADER_BYTES, Hole, Segment
from raftlog.storage.unit import UNIT_BYTES, UNIT_MAGIC, Unit, parse_unit

_ENTRY_MAGIC: Final = FRAME_MAGIC.to_bytes(2, "little") + bytes([FRAME_VERSION])
_SEALED_BYTES: Final = HEADER_BYTES - 4
ZEROS: Final = bytes(256 * KIB)
"""A piece that stays in the processor's cache."""


class SegmentScan:
    """One pass over a segment; fills the segment it is given."""

    def __init__(self, segment: Segment, claimed: Sequence[LogEnd] = ()) -> None:
        self.segment = segment
        self._claimed = [(end.index, end.checksum) for end in claimed]
        """Ends that this segment is known to have had."""
        self.newest: Claim | None = None
        """The best claim of any unit head."""
        self._newest_at = (0, 0)
        """Where that head lies, and how many bytes of entries it has."""
        self.commit_hint = Index(0)
        self.junk = False
        """Whether bytes that are no frame lie behind the last good one."""
        self.forgot = False
        """Whether a branch was found that had been cut off, and forgotten."""
        self._data = read_what_can_be_read(segment.file)
        self._end = segment.base
        self._position = SEGMENT_HEADER_BYTES
        self._places = EntryPlaces()
        self._unit_starts: array[int] = array("I")
        self._units: list[tuple[int, int]] = []
        """Number of each unit, and the entry before it; 0 where a head may be lost."""

    def bytes_from(self, position: int) -> bytes:
        """Return what was read from ``position`` to the end of the last good frame."""
        return self._data[position : self.segment.end_position]

    def run(self) -> None:
        """Scan to the end of the file."""
        self.segment.term_runs = []
        self.segment.holes = []
        while self._run_of_good_frames():
            pass
        segment = self.segment
        segment.places = self._places
        segment.end = self._end
        segment.end_position = self._position
        segment.unit_starts = self._unit_starts
        self.junk = not is_padding(self._data, self._position)

    def forget_branches(self, cuts: Sequence[Cut], newest: Claim | None = None) -> None:
        """Forget entries behind a truncation, one of ``cuts``, in units older than it.

        A disk has lost what was written since: the truncation, and all in this segment that
        came after. What was promised of it is missing; what is here is another branch. But if
        the truncation is the ``newest`` claim of all, it may not have been done yet, and who
        finishes it says so.
        """
        for cut in cuts:
            if newest is None or not newest.truncation or cut.unit != newest.unit:
                self._forget_branch(cut)

    def end_of_newest_unit(self) -> LogEnd | None:
        """Return the last entry of the unit with the best head; None if it is not all good."""
        segment, places = self.segment, self.segment.places
        start, length = self._newest_at
        stop = start + UNIT_BYTES + length
        bad = any(start < hole.position < stop for hole in segment.holes)
        if places is None or bad or segment.end_position < stop:
            return None
        last = segment.base.index + bisect_left(places.positions, stop)
        return segment.end_at(places, Index(last))

    def _forget_branch(self, cut: Cut) -> None:
        """Forget the older units' entries; newer units may lie in front of them.

        So it is when the sync of the cut has failed: the page cache had it, the disk never.
        """
        segment, places = self.segment, self.segment.places
        if places is None:
            return
        units = [*self._units, (0, segment.end.index)]
        for (number, before), (_, last) in pairwise(units):
            if not (0 < number < cut.unit and last > cut.index):
                continue
            kept = max(before, cut.index)
            hole = segment.hole_at(Index(kept))
            if hole is not None:  # what is lost there is of the older branch, too
                kept = hole.first - 1
            if kept < segment.end.index:
                segment.forget_after(places, segment.end_at(places, Index(kept)))
                self.forgot = self.junk = True
            return

    def _run_of_good_frames(self) -> bool:
        """Take frames as long as they are good; return whether there is more behind damage."""
        data = self._data
        view = memoryview(data)
        size = len(data)
        position = self._position
        end = self._end
        expected, previous, last_term = end.index + 1, end.checksum, end.term
        place, runs = self._places.append, self.segment.term_runs
        unpack = HEADER.unpack_from
        salt = self.segment.salt
        while position + HEADER_BYTES <= size:
            magic, version, kind, length, term, index, link, body_crc, checksum = unpack(
                data, position
            )
            body = position + HEADER_BYTES
            following = body + length
            if (
                magic != FRAME_MAGIC
                or index != expected
                or link != previous
                or following > size
                or crc32c(view[position : position + _SEALED_BYTES]) != checksum
                or version != FRAME_VERSION
                or kind not in KINDS
                or crc32c(view[body:following]) != body_crc
            ):
                unit = parse_unit(data, position, salt)
                # A head that names another entry before it is what a lost write left there.
                if unit is None or not _follows(unit, expected - 1, previous):
                    break
                self._take_unit(unit, position, expected - 1)
                position += UNIT_BYTES
                continue
            if term != last_term or not runs:
                runs.append((Index(index), Term(term)))
                last_term = term
            place(position, checksum)
            previous = checksum
            expected += 1
            position = following
        self._position = position
        if expected - 1 > end.index:
            self._end = LogEnd(Index(expected - 1), Term(last_term), previous)
        return self._pass_damage()

    def _take_unit(self, unit: Unit, position: int, before: int) -> None:
        self._unit_starts.append(position)
        self._units.append((unit.number, before))
        if self.newest is None or unit.claim > self.newest:
            self.newest = unit.claim
            self._newest_at = position, unit.length
        self.commit_hint = max(self.commit_hint, unit.commit)

    def _pass_damage(self) -> bool:
        """Go to the next good frame and note what was lost; False if there is none."""
        if is_padding(self._data, self._position):
            return False
        whole = self._damaged_body()
        if whole is not None:
            header, length = whole
            self._lose(header.end, length, terms_known=True)
            return True
        found = self._next_good()
        if found is None:
            return False
        # The head of the next unit may have lain here. Entries that were repaired one by one go
        # on behind it, and are not the unit's before it: it may be older than a truncation.
        self._units.append((0, self._end.index))
        if found.end.index > self._end.index:
            length = found.position - self._position
            self._lose(found.end, length, terms_known=found.terms_known)
        self._position = found.position
        return True

    def _damaged_body(self) -> tuple[Entry, int] | None:
        """Return the header here, if it is good and only its body is bad."""
        try:
            header, length, _ = parse_header(self._data, self._position)
        except CorruptFrame:
            return None
        linked = header.index == self._end.index + 1 and header.previous == self._end.checksum
        return (header, HEADER_BYTES + length) if linked else None

    def _lose(self, end: LogEnd, length: int, *, terms_known: bool) -> None:
        segment = self.segment
        first, last = Index(self._end.index + 1), end.index
        segment.holes.append(
            Hole(
                *(first, last, self._position, length),
                *(self._end, end.checksum, end.term, terms_known),
            )
        )
        for index in range(first, last + 1):
            if end.term != self._end.term or not segment.term_runs:
                segment.term_runs.append((Index(index), end.term))
                self._end = end
        self._places.lose(last - first + 1, self._position, end.checksum)
        self._end = end
        self._position += length

    def _next_good(self) -> "_GoesOn | None":
        """Return where the log goes on behind damage, and the entry that is in front of it.

        A record may hold bytes that look like a frame. So only a place is taken
        that is *proven* to follow: by what lies before it, or because it leads
        to what cannot be in a record.
        """
        looked_at = self._position
        for position, before, entry in self._good_frames(self._position + 1):
            if entry is None or before.index == self._end.index:
                alike = before.term == self._end.term or before.index == self._end.index + 1
                return _GoesOn(position, before, terms_known=alike)
            proven = self._proven_term(position, before, entry.term)
            if proven is not None:
                end = LogEnd(before.index, proven, before.checksum)
                return _GoesOn(position, end, terms_known=True)
            if position >= looked_at:
                leads_on, looked_at = self._leads_on(position, entry)
                if leads_on:
                    alike = entry.term == self._end.term
                    return _GoesOn(position, before, terms_known=alike)
        return None

    def _leads_on(self, position: int, entry: Entry) -> tuple[bool, int]:
        """Whether the entries from ``position`` on lead to a head or a claim; and where they end.

        Their headers do: a bad body is damage of its own. What they run through need not be
        looked at again, it ends there too.
        """
        data = self._data
        end = LogEnd(Index(entry.index - 1), entry.term, entry.previous)
        while not self._is_claimed(end):
            try:
                entry, length, _ = parse_header(data, position)
                check_link(end, entry)
            except CorruptFrame:
                break
            end = entry.end
            position += HEADER_BYTES + length
        unit = parse_unit(data, position, self.segment.salt)
        is_real = unit is not None and _follows(unit, end.index, end.checksum)
        return is_real or self._is_claimed(end), position

    def _is_claimed(self, end: LogEnd) -> bool:
        """Whether ``end``, whose term may be a guess, is an end that was claimed."""
        return (end.index, end.checksum) in self._claimed

    def _good_frames(self, start: int) -> Iterator[tuple[int, LogEnd, Entry | None]]:
        """Yield good frames that may belong behind what is here.

        With each, the entry before it (whose term may be a guess), and its own
        header; None for the head of a unit.
        """
        data = self._data
        entry_at = data.find(_ENTRY_MAGIC, start)
        unit_at = data.find(UNIT_MAGIC, start)
        while entry_at >= 0 or unit_at >= 0:
            if unit_at >= 0 and (entry_at < 0 or unit_at < entry_at):
                unit = parse_unit(data, unit_at, self.segment.salt)
                if unit is not None and self._can_follow(unit.before, unit_at):
                    yield unit_at, unit.before, None
                unit_at = data.find(UNIT_MAGIC, unit_at + 1)
            else:
                entry = self._good_entry(entry_at)
                if entry is not None:
                    before = LogEnd(Index(entry.index - 1), self._end.term, entry.previous)
                    yield entry_at, before, entry
                entry_at = data.find(_ENTRY_MAGIC, entry_at + 1)

    def _proven_term(self, position: int, lost: LogEnd, term: Term) -> Term | None:
        """Return the term of the one entry between here and ``position``, if it can be proven.

        Its header is bad, but its checksum is known (whoever follows stores
        it), and all that the header said but the term is known here. A wrong
        term would look like a conflict with the leader's log; a wrong place
        would put a piece of a record into the log.
        """
        before = self._end
        body = self._position + HEADER_BYTES
        if lost.index != before.index + 1 or not 0 <= position - body <= ENTRY_BODY_BYTES_MAX:
            return None
        facts = (position - body, lost.index, before.checksum)
        body_crc = crc32c(memoryview(self._data)[body:position])
        stored = Term(HEADER.unpack_from(self._data, self._position)[4])
        for guess in (stored, before.term, term):
            for kind in KINDS.values():
                if header_checksum(kind, guess, *facts, body_crc) == lost.checksum:
                    return guess
        return None

    def _can_follow(self, before: LogEnd, position: int) -> bool:
        """Whether what lies at ``position`` may come right after entry ``before``.

        Every lost entry took at least a header's room: what claims more is
        no frame of this log but bytes in somebody's record that look like one.
        """
        lost = before.index - self._end.index
        if not lost:
            return before.checksum == self._end.checksum
        return 0 < lost * HEADER_BYTES <= position - self._position

    def _good_entry(self, position: int) -> Entry | None:
        try:
            header, length, body_crc = parse_header(self._data, position)
        except CorruptFrame:
            return None
        start = position + HEADER_BYTES
        before = LogEnd(Index(header.index - 1), header.term, header.previous)
        if not self._can_follow(before, position) or header.term < self._end.term:
            return None
        body = memoryview(self._data)[start : start + length]
        return header if len(body) == length and crc32c(body) == body_crc else None


class _GoesOn(NamedTuple):
    """Where the log goes on, the lost entry before it, and whether no lost term is a guess."""

    position: int
    end: LogEnd
    terms_known: bool


def end_of_whole_units(scans: Iterable[SegmentScan], watermark: Claim) -> LogEnd:
    """Return where a log ends that keeps a unit as a whole or not at all.

    The unit of the best head was perhaps promised, if all of it is here. Behind it are frames
    without a head, if any: nobody knows what else was in that unit.
    """
    for scan in scans:
        end = scan.end_of_newest_unit() if scan.newest == watermark else None
        if end is not None:
            return end
    return watermark.end


def _follows(unit: Unit, index: int, checksum: int) -> bool:
    return unit.before.index == index and unit.before.checksum == checksum


def is_padding(data: bytes, start: int) -> bool:
    """Whether only zeros lie from ``start`` on.

    A segment is allocated whole, and most of the last one is zeros: they are compared in pieces
    that stay in the processor's cache, not copied as a whole, nor searched for frames.
    """
    for at in range(start, len(data), len(ZEROS)):
        piece = data[at : at + len(ZEROS)]
        if piece != ZEROS[: len(piece)]:
            return False
    return True


def read_what_can_be_read(file: File) -> bytes:
    """Read a whole file; sectors that cannot be read count as zeros, which no frame is."""
    size = file.size()
    try:
        return file.pread(size, 0)
    except OSError:
        parts = []
        for offset in range(0, size, BLOCK_BYTES):
            length = min(BLOCK_BYTES, size - offset)
            try:
                parts.append(file.pread(length, offset))
            except OSError:
                parts += _sectors_that_can_be_read(file, offset, length)
        return b"".join(parts)


def _sectors_that_can_be_read(file: File, start: int, length: int) -> Iterator[bytes]:
    for offset in range(start, start + length, SECTOR_BYTES):
        size = min(SECTOR_BYTES, start + length - offset)
        try:
            yield file.pread(size, offset)
        except OSError:
            yield bytes(size)
