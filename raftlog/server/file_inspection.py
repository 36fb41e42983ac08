"""What stands beside a shard's log, looked at and never changed: members, ranges, snapshots.

Each is judged by its own checksums, read whole: a bad one is damage, because it was durable
before it had its name. What has no name yet is unfinished. A log that was trimmed also needs
a snapshot that leads to its beginning, with all its ranges: without one it is of no use.
"""

from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from raftlog.base.errors import CorruptFrame, DamagedLog
from raftlog.base.ids import Index
from raftlog.broker.ranges import parse_range
from raftlog.broker.snapshot import parse_snapshot
from raftlog.server.finding import Finding, Verdict
from raftlog.service.snapshot import find_snapshot
from raftlog.storage.configurations import MEMBERS, read_rows
from raftlog.storage.files import Files
from raftlog.storage.offset_index import OffsetIndex
from raftlog.storage.snapshot_store import SnapshotStore


class FilesReport(msgspec.Struct, frozen=True):
    """A shard's other files: how many there are, and what is wrong with them."""

    ranges: int
    snapshots: int
    findings: tuple[Finding, ...]


def inspect_files(files: Files, folder: str, start: Index, end: Index) -> FilesReport:
    """Read a shard's members, index ranges and snapshots; ``start`` and ``end`` are its log's.

    Raises:
        IncompatibleFormat: A newer raftlog wrote one of them.
    """
    return _FilesInspection(files, folder).report(start, end)


class _FilesInspection:
    """One pass over the files beside a log."""

    def __init__(self, files: Files, folder: str) -> None:
        self._files = files
        self._folder = folder
        self._index = OffsetIndex(files, f"{folder}/index", parse_range)
        self._snapshots = SnapshotStore(files, f"{folder}/snapshot")
        self._findings: list[Finding] = []

    def report(self, start: Index, end: Index) -> FilesReport:
        """Judge each file, then whether they lead to the log."""
        self._check(f"{self._folder}/{MEMBERS}", partial(read_rows, self._files, self._folder))
        ranges = list(self._named("index", ".qx"))
        for path, index in ranges:
            self._check(path, partial(self._index.read, index))
        snapshots = list(self._named("snapshot", ".tables"))
        for path, index in snapshots:
            self._check(path, partial(self._read_snapshot, index))
        chain = self._index.chain
        if start and find_snapshot(self._snapshots, chain, start, end, fetched=end) is None:
            self._find(
                f"{self._folder}/log",
                "damage",
                f"begins behind entry {start}, and no good snapshot here leads to it",
            )
        return FilesReport(len(ranges), len(snapshots), tuple(self._findings))

    def _named(self, part: str, suffix: str) -> Iterator[tuple[str, Index]]:
        """Yield the files of one folder with the index in their name; note the others."""
        directory = f"{self._folder}/{part}"
        for name in self._files.list(directory):
            stem = name.removesuffix(suffix)
            if name.endswith(suffix) and stem.isdigit():
                yield f"{directory}/{name}", Index(int(stem))
            else:
                self._find(f"{directory}/{name}", "unfinished", "has not got its name yet")

    def _read_snapshot(self, index: Index) -> None:
        found = parse_snapshot(self._snapshots.read(index))
        if found.index != index:
            raise CorruptFrame(f"holds the tables at {found.index}")

    def _check(self, path: str, look: Callable[[], object]) -> None:
        try:
            look()
        except (CorruptFrame, DamagedLog) as error:
            # A node that runs removes snapshots and ranges meanwhile, which is no damage.
            if self._files.exists(path):
                self._find(path, "damage", str(error).removeprefix(f"{path} "))

    def _find(self, file: str, verdict: Verdict, what: str) -> None:
        self._findings.append(Finding(file, verdict, what))
