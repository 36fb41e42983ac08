"""Opening a log: what is kept, cut, or marked as damaged (ruling 2).

===================================================  ==========================
what is found                                        verdict
===================================================  ==========================
good, and the chain links                            keep
after the end of a truncation claim, in older units  finish the truncation
of before a claim that the log was reset             finish the reset
bad or missing at or below the watermark             damage: faulty, repaired
                                                     from peers
bad or missing above the watermark                   cut where its unit begins,
                                                     whatever follows
good, but another entry than the claim's             refuse to start
===================================================  ==========================

The watermark is the claim with the highest unit number, wherever it lies: in
the mark file, in a unit's head, in a segment's header.

What is kept above the watermark, one whole unit, may never have reached the
disk: after a failed fsync the page cache can hold pages that are clean and
nowhere else. It is written again, the same bytes in the same place, and synced,
before anybody may call it durable.

A unit was reported durable as a whole or not at all, and is kept so. So its
number says all that was promised, and a log that has lost the last one and its
mark is known by it to whoever was told (ruling 16)::

    promised             | 5 | 6 | 7 |    "durable up to unit 7"
    found                | 5 | 6 | ?      7 and its mark are gone, junk is cut
    says                                  "durable up to unit 6": the cut, 8, is no promise
"""

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from raftlog.base.entry import LOG_ORIGIN, LogEnd
from raftlog.base.errors import DamagedLog, StorageFailed
from raftlog.base.ids import Index
from raftlog.storage.durable_mark import Claim, Cut, DurableMark, claim_done
from raftlog.storage.files import File, Files
from raftlog.storage.lost_header import claim_of_first_unit, remains_of
from raftlog.storage.scan import SegmentScan, end_of_whole_units
from raftlog.storage.segment import (
    INDEX_SUFFIX,
    SEGMENT_HEADER_BYTES,
    SUFFIX,
    Hole,
    Segment,
    encode_header,
    encode_index,
    first_index_of,
    header_of,
    open_sealed,
    remove_index,
    segment_name,
    store_index,
)
from raftlog.storage.unit import UNIT_BYTES


class Recovered(msgspec.Struct):
    """A log as it was found, and where it is still to be cut."""

    mark: DurableMark
    segments: list[Segment]
    unit_number: int
    """The highest number that a unit or a truncation has had."""
    commit_hint: Index
    cut_to: LogEnd | None


def recover(files: Files, log: str, mark_path: str) -> Recovered:
    """Read what is there, judge it, and make durable what is kept.

    Raises:
        DamagedLog: The first segment's beginning is bad, two segments overlap, or the log is
            not the one that was promised.
        StorageFailed: That beginning can't be read, or something could not be written.
    """
    mark = DurableMark.open(files, mark_path)
    # Acting on it (dropping what a truncation was to drop) and then losing it would turn the
    # cut into damage.
    mark.make_durable()
    found = _Findings(files, log, mark)
    found.finish_reset()
    found.read_segments()
    if not found.segments:
        found.begin()
    found.finish_truncation()
    found.forget_branches()
    found.connect()
    found.check_promised()
    found.judge_tail()
    found.write_again()
    found.write_claim()
    found.seal_scanned()
    segments = found.segments
    start, end = segments[0].base.index, segments[-1].end.index
    hint = Index(min(max(found.commit_hint, start), end))
    if found.cut_to is not None:
        hint = Index(min(hint, found.cut_to.index))
    mark.promised = found.promised
    return Recovered(mark, segments, found.watermark.unit, hint, found.cut_to)


class _Findings:
    """What lies in the log directory."""

    def __init__(self, files: Files, log: str, mark: DurableMark) -> None:
        self.segments: list[Segment] = []
        self.commit_hint = Index(0)
        self.cut_to: LogEnd | None = None
        self.watermark = mark.newest or claim_done(0, LOG_ORIGIN)
        self.promised = mark.promised
        """The newest unit that may have been reported, and all of whose entries are here."""
        self._files = files
        self._log = log
        self._mark = mark
        self._scans: dict[int, SegmentScan] = {}
        self._headless: list[Segment] = []
        self._begun: dict[Segment, Claim] = {}
        """Of some without a header: what their first units say in its place."""

    def finish_reset(self) -> None:
        """Drop what lay here before the log was reset: it is no part of the new one."""
        if not self.watermark.reset:
            return
        for name in self._files.list(self._log):
            if not name.endswith(SUFFIX):
                continue
            file = self._files.open(f"{self._log}/{name}")
            is_old = self._is_older_than_reset(file)
            file.close()
            if is_old:
                stem = name.removesuffix(SUFFIX)
                remove_index(self._files, f"{self._log}/{stem}{INDEX_SUFFIX}")
                self._files.remove(f"{self._log}/{name}")
        self._files.sync_directory(self._log)

    def read_segments(self) -> None:
        """Open every segment: by its ``.idx`` if it fits, else by a scan."""
        names = [name for name in self._files.list(self._log) if name.endswith(SUFFIX)]
        files = [self._files.open(f"{self._log}/{name}") for name in names]
        headers = [header_of(file) for file in files]
        begun = [
            header or claim_of_first_unit(file)
            for file, header in zip(files, headers, strict=True)
        ]
        for number, file in enumerate(files):
            claim, following = begun[number], (*begun, None)[number + 1]
            if claim is None:
                segment = Segment(file, self._log, self._base_without_header(file))
            else:
                self._heed(claim)
                segment = Segment(file, self._log, claim.end)
            if headers[number] is None:
                self._headless.append(segment)
                if claim is not None:
                    self._begun[segment] = claim
            if open_sealed(self._files, segment):
                assert segment.claim is not None, "a sealed segment claims to be durable"
                self._heed(segment.claim)
            else:
                self._make_as_it_looks(segment)
                self._scan(segment, following)
            self.segments.append(segment)

    def _is_older_than_reset(self, file: File) -> bool:
        """Whether a segment is of the log that was here before the newest reset.

        Raises:
            DamagedLog: Nobody can tell: it holds something, and its beginning is lost.
        """
        header = header_of(file)
        if header is not None:
            return header.unit < self.watermark.unit
        first = first_index_of(file.path)
        if first <= self.watermark.index:
            return True
        remains = remains_of(file, first, [self.watermark.end])
        if remains.newest_unit is not None:
            return remains.newest_unit < self.watermark.unit
        if remains.is_blank:
            return True  # it was being made for the new log, and holds nothing yet
        _check_readable(file)
        raise DamagedLog(
            f"{file.path} has no readable header, and nothing says whether it is older than the "
            f"snapshot behind which the log began anew; copy the data directory away and let the "
            f"node join as new"
        )

    def _scan(self, segment: Segment, following: Claim | None) -> None:
        # The next segment says where this one ends. Without that, entries behind damage and
        # the last unit head would lead nowhere, and good ones would have to be fetched again.
        claims = [claim for claim in (self._mark.newest, following) if claim is not None]
        scan = SegmentScan(segment, [claim.end for claim in claims])
        scan.run()
        self._scans[segment.first_index] = scan
        self.commit_hint = max(self.commit_hint, scan.commit_hint)
        if scan.newest is not None:
            self._heed(scan.newest)

    def begin(self) -> None:
        """Make the first segment of a log that has none."""
        base = self.watermark.end
        if base.index > 0 and not self.watermark.reset:
            raise DamagedLog(
                f"{self._log} holds no segment, but the log was durable up to "
                f"{self.watermark.index}; let the node join as new"
            )
        path = f"{self._log}/{segment_name(Index(base.index + 1))}"
        segment = Segment(self._files.open(path, create=True), self._log, base)
        self._write_header(segment, self.watermark.unit)
        self.segments.append(segment)

    def finish_truncation(self) -> None:
        """Drop segments that a truncation was about to drop."""
        if self.watermark.truncation:
            while len(self.segments) > 1 and self.segments[-1].base.index >= self.watermark.index:
                self._remove(self.segments[-1])
        for segment in self._headless:
            if segment not in self.segments:
                continue
            # A roll that was cut short: a file without header and without one good entry.
            torn = segment.end.index == segment.base.index and not segment.holes
            if torn and segment.base.index >= self.watermark.index and len(self.segments) > 1:
                self._remove(segment)
            else:
                # No more than it said: as a claim of the newest unit it would outrank what the
                # units behind it have promised.
                begun = self._begun.get(segment)
                self._write_header(segment, self._last_cut() if begun is None else begun.unit)
        for segment in self.segments:
            # Nothing in it was promised, so its header may be one of those that a failed sync
            # left in the cache and not on the disk (ruling 2 d). Once the log is trimmed to it,
            # nothing else says where it belongs.
            if segment.base.index == self.watermark.index and segment not in self._headless:
                self._write_header(segment, self.promised)

    def forget_branches(self) -> None:
        """Tell tails that were cut, and are there again, from what was promised since."""
        for scan in self._scans.values():
            scan.forget_branches(self._mark.cuts, self.watermark)

    def connect(self) -> None:
        """Check that each segment goes on where the one before it ends."""
        for before, after in pairwise(self.segments):
            if before.end.index > after.base.index:
                raise DamagedLog(
                    f"{before.path} and {after.path} overlap; copy the data directory away and "
                    f"let the node join as new"
                )
            if before.end.index < after.base.index:
                before.lose_tail(after.base)
            if before.end != after.base:
                raise DamagedLog(
                    f"{after.path} does not follow {before.path}: a disk took back what it had "
                    f"confirmed; copy the data directory away and let the node join as new"
                )

    def check_promised(self) -> None:
        """Refuse another log than the one that was promised.

        Damage is known by its checksums, and repaired. This is none: each frame is good, and
        nobody knows from which entry on they are of another branch.
        """
        other = not_promised(self.segments, self._mark.cuts, self.watermark)
        if other is not None:
            raise DamagedLog(
                f"entry {other[0]} in {other[1]} is not the one that was promised: a disk took "
                f"back what it had confirmed; copy the data directory away and let the node join "
                f"as new"
            )

    def judge_tail(self) -> None:
        """Decide between torn and damaged at the end of the log."""
        mark = self.watermark
        last = self.segments[-1]
        if mark.index > last.end.index:
            last.lose_tail(mark.end)
        if mark.truncation and last.end.index > mark.index:
            self.cut_to = mark.end
            return
        whole = end_of_whole_units(self._scans.values(), mark)
        if whole.index > mark.index:
            self.promised = max(self.promised, mark.unit)
        for segment in self.segments:
            hole = segment.hole_at(mark.index)
            if hole is not None and hole.last > mark.index:
                self._keep_promised(segment, hole)
        scan = self._scans.get(last.first_index)
        # Of a torn unit perhaps only the head is there: it must not tell its number for good.
        is_begun = scan is not None and not mark.rank and scan.newest == mark and whole == mark.end
        if last.end.index > whole.index or is_begun:
            self.cut_to = whole
            return
        # Bytes of damaged entries are not cut: a read error may pass, and they are there again.
        damaged = bool(last.holes) and not last.holes[-1].length
        if scan is not None and scan.junk and not damaged:
            self.cut_to = last.end

    def write_again(self) -> None:
        """Make durable what is kept above the watermark, then say so."""
        last = self.segments[-1]
        end = self.cut_to or last.end
        if end.index <= self.watermark.index:
            return
        for segment in self.segments:
            scan = self._scans.get(segment.first_index)
            first = max(self.watermark.index + 1, segment.first_index)
            if scan is None or first > segment.end.index or segment.places is None:
                continue
            start = max(
                SEGMENT_HEADER_BYTES,
                segment.places.positions[first - segment.first_index] - UNIT_BYTES,
            )
            segment.file.pwrite([scan.bytes_from(start)], start)
            segment.file.sync()
        self.watermark = claim_done(self.watermark.unit, end)
        self._mark.write(self.watermark)
        self._mark.sync()

    def write_claim(self) -> None:
        """Put the watermark into the mark: an ``.idx`` or a header that says it may rot."""
        newest = self._mark.newest
        if self.watermark.rank and (newest is None or self.watermark > newest):
            self._mark.promised = self.promised
            self._mark.write(self.watermark, is_promise=False)
            self._mark.sync()

    def seal_scanned(self) -> None:
        """Give full segments that had no fitting ``.idx`` a new one, for the next start."""
        for segment in self.segments[:-1]:
            scan = self._scans.get(segment.first_index)
            whole = self.cut_to is None or self.cut_to.index >= segment.end.index
            if scan is None or scan.newest is None or segment.holes or not whole:
                continue
            store_index(self._files, segment.index_path, encode_index(segment, scan.newest.unit))
            segment.sealed = True
            segment.places = None
            segment.unit_starts = None

    def _keep_promised(self, segment: Segment, hole: Hole) -> None:
        """Promised entries are damaged, and unpromised ones behind them: the hole is smaller."""
        mark = self.watermark
        segment.holes.remove(hole)
        segment.holes.append(
            Hole(
                *(hole.first, mark.index, hole.position, 0),
                *(hole.before, mark.checksum, mark.term),
                terms_known=hole.first == mark.index or hole.before.term == mark.term,
            )
        )

    def _make_as_it_looks(self, segment: Segment) -> None:
        """Make durable what the page cache says of a segment that is about to be judged.

        After kill -9 a cut may be in the cache only. Recovery goes on from the
        cut file; a power cut later must not bring back the old length, nor an
        ``.idx`` of it that fits again.
        """
        segment.file.sync()
        if remove_index(self._files, segment.index_path):
            self._files.sync_directory(self._log)

    def _heed(self, claim: Claim) -> None:
        self.watermark = max(self.watermark, claim)
        # A head says it of the unit before its own, which may be recovery's cut.
        done = claim.unit if claim.rank else claim.unit - 1
        if self._mark.newest is None or done > self._mark.newest.unit:
            self.promised = max(self.promised, done)

    def _last_cut(self) -> int:
        return self._mark.cuts[-1].unit if self._mark.cuts else 0

    def _base_without_header(self, file: File) -> LogEnd:
        before = self.segments[-1].end if self.segments else LOG_ORIGIN
        # Behind damaged entries a log goes on in a new segment. If they were the last ones, only
        # the watermark knows their end, and the new segment may have been made and not begun.
        for end in (before, self.watermark.end):
            if file.path == f"{self._log}/{segment_name(Index(end.index + 1))}":
                return end
        _check_readable(file)
        claim = header_of(file) or claim_of_first_unit(file)
        if claim is not None:  # a read error has passed
            self._heed(claim)
            return claim.end
        raise DamagedLog(
            f"{file.path} has no readable header and nothing before it says where it belongs; "
            f"copy the data directory away and let the node join as new"
        )

    def _write_header(self, segment: Segment, unit: int) -> None:
        segment.file.allocate(SEGMENT_HEADER_BYTES)
        segment.file.pwrite([encode_header(segment.base, unit)], 0)
        segment.file.sync()
        self._files.sync_directory(self._log)

    def _remove(self, segment: Segment) -> None:
        self.segments.remove(segment)
        segment.file.close()
        remove_index(self._files, segment.index_path)
        self._files.remove(segment.path)
        self._files.sync_directory(self._log)


def _check_readable(file: File) -> None:
    """Refuse to judge a beginning that can't be read now: it is not known to be bad.

    Raises:
        StorageFailed: Reading failed. It may pass; a directory must not be given up for it.
    """
    try:
        file.pread(SEGMENT_HEADER_BYTES + UNIT_BYTES, 0)
    except OSError as error:
        raise StorageFailed("pread", file.path, 0, error) from error


def not_promised(
    segments: Sequence[Segment], cuts: Sequence[Cut], watermark: Claim
) -> tuple[Index, str] | None:
    """Return index and file of an entry that is another one than the mark has promised."""
    for promised in (*cuts, Cut(watermark.unit, watermark.index, watermark.checksum)):
        for segment in segments:
            checksum = segment.checksum_at(promised.index)
            if checksum is not None and promised.contradicts(checksum):
                return promised.index, segment.path
    return None
