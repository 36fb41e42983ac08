"""A data directory looked at, and never changed: ``raftlog log verify|dump``.

Opening a log repairs it: recovery cuts a torn tail and writes again what it
keeps. An inspection must not, because what it looks at may be the only trace
of a fault, or belong to a node that runs. So files are opened for reading only
and every byte of every segment is read, whatever an ``.idx`` says of it.

The verdicts are those of ruling 2. What is bad at or below the watermark was
promised and is *damage*; what is bad above it was never acknowledged and is
*unfinished*: the next start cuts it. A node that runs meanwhile writes behind
the watermark, so it can look unfinished and never damaged.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from raftlog.base.entry import LOG_ORIGIN, Entry, parse_entry
from raftlog.base.errors import (
    DamagedLog,
    DirectoryUnformatted,
    RaftlogError,
    Refused,
    StorageFailed,
)
from raftlog.base.ids import ClusterId, Index
from raftlog.base.limits import BLOCK_BYTES
from raftlog.server.file_inspection import inspect_files
from raftlog.server.finding import Finding, Verdict
from raftlog.storage import hard_state
from raftlog.storage.configurations import MEMBERS, ConfigurationRow, read_rows
from raftlog.storage.durable_mark import Claim, Cut, DurableMark, claim_done
from raftlog.storage.files import File, OsFile, OsFiles
from raftlog.storage.identity import NODE_META, Identity, read_identity
from raftlog.storage.log_store import DURABLE_MARK, HARD_STATE, LOG
from raftlog.storage.lost_header import claim_of_first_unit
from raftlog.storage.recovery import not_promised
from raftlog.storage.scan import SegmentScan, end_of_whole_units
from raftlog.storage.segment import SUFFIX, Segment, header_of

COPIES: Final = 2


class ReadOnlyFiles(OsFiles):
    """The file system, of which nothing can be changed."""

    def open(self, path: str, *, create: bool = False) -> OsFile:
        """Open for reading; ``create`` makes nothing."""
        del create
        try:
            return OsFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC), path)
        except OSError as error:
            raise StorageFailed("open", path, None, error) from error


class ShardReport(msgspec.Struct, frozen=True):
    """One shard's log, and what stands beside it, as they lie on disk."""

    shard: int
    term: int
    vote: str
    first: int
    last: int
    last_term: int
    durable: int
    segments: int
    entries: int
    ranges: int
    snapshots: int
    findings: tuple[Finding, ...]


class DirectoryReport(msgspec.Struct, frozen=True):
    """A data directory."""

    path: str
    cluster: str
    node: str
    directory: str
    shards: tuple[ShardReport, ...]

    @property
    def is_damaged(self) -> bool:
        """Whether something that was promised is bad."""
        return any(f.verdict == "damage" for shard in self.shards for f in shard.findings)


def verify_directory(path: str) -> DirectoryReport:
    """Read all of a data directory and judge it.

    Raises:
        DirectoryRefused: It is not formatted, or of another format.
        DamagedLog: It cannot say whose it is.
    """
    files = ReadOnlyFiles()
    identity = identity_of(files, path)
    shards = range(len(identity.shards))
    reports = tuple(_ShardInspection(files, path, shard).report() for shard in shards)
    return DirectoryReport(path, identity.cluster, identity.node, identity.directory, reports)


def entries_of(path: str, shard: int, first: int, last: int | None) -> Iterator[Entry | Finding]:
    """Yield the entries of a shard from ``first`` to ``last``, damaged ones as findings.

    Raises:
        DirectoryRefused: It is not formatted, or of another format.
        Refused: It has no such shard.
    """
    files = ReadOnlyFiles()
    identity = identity_of(files, path)
    if not 0 <= shard < len(identity.shards):
        raise Refused(f"{path} has the shards 0 to {len(identity.shards) - 1}, not {shard}")
    inspection = _ShardInspection(files, path, shard)
    for segment in inspection.segments:
        if segment.end.index >= first and (last is None or segment.base.index < last):
            yield from _entries_in(segment, first, last)


def cluster_of(directories: Iterable[Path]) -> ClusterId | None:
    """Return the cluster that data directories belong to; None if none can be read here."""
    files = ReadOnlyFiles()
    for path in directories:
        # What is wrong with a directory is said by who opens it; they may be on other machines.
        with suppress(RaftlogError):
            return read_identity(files, str(path)).cluster
    return None


def log_of(path: str, shard: int) -> tuple[int, Iterator[tuple[int, Entry | Finding]]]:
    """Return how far a shard's log is known to be committed, and each entry by its index."""
    inspection = _ShardInspection(ReadOnlyFiles(), path, shard)

    def entries() -> Iterator[tuple[int, Entry | Finding]]:
        for segment in inspection.segments:
            found = _entries_in(segment, segment.first_index, None)
            yield from enumerate(found, start=segment.first_index)

    return inspection.commit, entries()


def identity_of(files: ReadOnlyFiles, path: str) -> Identity:
    """Return whose directory it is; refuse one that is nobody's."""
    # Who looks has often named the wrong directory; "form it" is advice for a node that starts.
    if not files.exists(f"{path}/{NODE_META}"):
        raise DirectoryUnformatted(
            f"{path} is no node's data directory: it has no {NODE_META}; "
            f"name one that has, such as data/n1"
        )
    return read_identity(files, path)


def _entries_in(segment: Segment, first: int, last: int | None) -> Iterator[Entry | Finding]:
    assert segment.places is not None, "a scan finds places"
    positions = segment.places.positions
    stop = segment.end.index if last is None else min(last, segment.end.index)
    data = segment.file.pread(segment.end_position, 0)
    for index in range(max(first, segment.first_index), stop + 1):
        hole = segment.hole_at(Index(index))
        if hole is not None:
            yield Finding(segment.path, "damage", f"entry {index} is damaged")
        else:
            yield parse_entry(data, positions[index - segment.first_index])


class _ShardInspection:
    """One pass over a shard's files."""

    def __init__(self, files: ReadOnlyFiles, path: str, shard: int) -> None:
        self.segments: list[Segment] = []
        self._files = files
        self._shard = shard
        self._folder = f"{path}/shards/{shard}"
        self._log = f"{self._folder}/{LOG}"
        self._watermark = claim_done(0, LOG_ORIGIN)
        self._findings: list[Finding] = []
        self._scans: list[SegmentScan] = []
        self._cuts: tuple[Cut, ...] = ()
        self._read_mark()
        # Before the log: a node that runs writes an entry first, and then that it was written.
        self._configurations = self._read_members()
        for name in files.list(self._log):
            if name.endswith(SUFFIX):
                self._read_segment(name)

    @property
    def commit(self) -> int:
        """How far the log is known to be committed: it may be further."""
        return max((scan.commit_hint for scan in self._scans), default=0)

    def report(self) -> ShardReport:
        """Judge what was read."""
        term, vote = self._hard_state()
        for scan in self._scans:
            scan.forget_branches(self._cuts, self._watermark)
        self._judge_links()
        self._judge_holes()
        self._judge_tail()
        self._judge_members()
        end = self.segments[-1].end if self.segments else LOG_ORIGIN
        if term < end.term and (term or vote):
            what = f"knows no term after {term}, but entry {end.index} is of term {end.term}"
            self._find(f"{self._folder}/{HARD_STATE}", "damage", what)
        first = self.segments[0].first_index if self.segments else 1
        damaged = sum(h.last - h.first + 1 for s in self.segments for h in s.holes)
        entries = sum(s.end.index - s.base.index for s in self.segments) - damaged
        beside = inspect_files(self._files, self._folder, Index(first - 1), end.index)
        return ShardReport(
            *(self._shard, term, vote, first, end.index, end.term),
            *(self._watermark.index, len(self.segments), entries),
            *(beside.ranges, beside.snapshots, (*self._findings, *beside.findings)),
        )

    # -- reading

    def _read_mark(self) -> None:
        path = f"{self._folder}/{DURABLE_MARK}"
        if not self._files.exists(path):
            self._find(path, "damage", "is missing: how far the log was durable is not known")
            return
        mark = DurableMark.open(self._files, path)
        self._cuts = mark.cuts
        if mark.newest is not None:
            self._heed(mark.newest)
        else:
            self._find(path, "damage", "both slots are bad")
        mark.close()

    def _read_members(self) -> list[ConfigurationRow]:
        with suppress(DamagedLog):  # the file by itself is judged with those beside the log
            return read_rows(self._files, self._folder)
        return []

    def _read_segment(self, name: str) -> None:
        path = f"{self._log}/{name}"
        file = self._files.open(path)
        begun = header_of(file)
        if begun is None:
            before = self.segments[-1].end if self.segments else LOG_ORIGIN
            verdict: Verdict = "unfinished" if self._is_torn_roll(file, before.index) else "damage"
            self._find(path, verdict, "its header is bad")
            begun = claim_of_first_unit(file)
            if begun is None:
                file.close()
                return
        self._heed(begun)
        segment = Segment(file, self._log, begun.end)
        scan = SegmentScan(segment, [self._watermark.end])
        scan.run()
        self._scans.append(scan)
        if scan.newest is not None:
            self._heed(scan.newest)
        self.segments.append(segment)

    def _is_torn_roll(self, file: File, end: int) -> bool:
        """Whether a new segment was being made when the node ended: nothing is in it yet."""
        data = _try_read(file, BLOCK_BYTES, 0)
        is_read = bool(data) or not file.size()
        return is_read and end >= self._watermark.index and data == bytes(len(data))

    def _hard_state(self) -> tuple[int, str]:
        path = f"{self._folder}/{HARD_STATE}"
        if not self._files.exists(path):
            self._find(path, "damage", "is missing: term and vote are lost")
            return 0, ""
        file = self._files.open(path)
        read = [_try_read(file, BLOCK_BYTES, n * BLOCK_BYTES) for n in range(COPIES)]
        file.close()
        copies = [copy for copy in map(hard_state.decode, read) if copy is not None]
        if not copies:
            self._find(path, "damage", "both copies are bad: term and vote are lost")
            return 0, ""
        if len(copies) < COPIES or copies[0] != copies[1]:
            self._find(path, "unfinished", "one copy is bad or older; the other one counts")
        _, state = max(copies, key=lambda copy: copy[0])
        return state.term, str(state.vote or "")

    # -- judging

    def _judge_links(self) -> None:
        for before, after in pairwise(self.segments):
            if before.end != after.base:
                self._find(
                    after.path,
                    "damage",
                    f"begins after entry {after.base.index}, but the segment before it ends "
                    f"with {before.end.index} or has another chain",
                )

    def _judge_holes(self) -> None:
        for segment in self.segments:
            for hole in segment.holes:
                is_promised = hole.first <= self._watermark.index
                what = f"entries {hole.first} to {hole.last} are bad, from byte {hole.position} on"
                self._find(segment.path, "damage" if is_promised else "unfinished", what)

    def _judge_tail(self) -> None:
        mark = self._watermark
        last = self.segments[-1].end if self.segments else LOG_ORIGIN
        end = last.index
        where = self.segments[-1].path if self.segments else self._log
        other = not_promised(self.segments, self._cuts, mark)
        if end < mark.index:
            self._find(where, "damage", f"ends with entry {end}, was durable up to {mark.index}")
        elif mark.truncation and end > mark.index:
            self._find(where, "unfinished", f"a truncation to entry {mark.index} did not end")
        elif other is not None:
            self._find(other[1], "damage", f"entry {other[0]} is not the one that was promised")
        elif end > (whole := end_of_whole_units(self._scans, mark).index):
            what = f"entries {whole + 1} to {end} are of a write that did not end"
            self._find(where, "unfinished", what)
        elif self._scans and self._scans[-1].junk:
            self._find(where, "unfinished", f"a write after entry {end} did not end")

    def _judge_members(self) -> None:
        """Look whether the log has what was written of configurations, or has trimmed it."""
        lost = [row for row in self._configurations if row.written and self._lacks(row)]
        if lost and lost[0] in self._read_members():  # else it was truncated meanwhile
            what = f"names entry {lost[0].index}, which the log has no more"
            self._find(f"{self._folder}/{MEMBERS}", "damage", what)

    def _lacks(self, row: ConfigurationRow) -> bool:
        if not self.segments or row.index <= self.segments[0].base.index:
            return False
        for segment in self.segments:
            if segment.base.index < row.index <= segment.end.index:
                checksum = segment.checksum_at(row.index)
                return checksum not in (None, row.checksum)
        return True

    def _heed(self, claim: Claim) -> None:
        self._watermark = max(self._watermark, claim)

    def _find(self, file: str, verdict: Verdict, what: str) -> None:
        self._findings.append(Finding(file, verdict, what))


def _try_read(file: File, length: int, offset: int) -> bytes:
    try:
        return file.pread(length, offset)
    except OSError:
        return b""
