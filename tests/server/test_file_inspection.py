"""Ranges and snapshots are looked at too: every flipped bit is found, and nothing is changed."""

from typing import Final

import pytest

from chaos.sim.disk import SimDisk
from raftlog.base.ids import Index
from raftlog.server.file_inspection import FilesReport, inspect_files
from raftlog.storage.configurations import MEMBERS, ConfigurationRow, write_rows
from tests.broker.histories import History
from tests.golden.make import small_ranges

FOLDER: Final = "shard"
ORIGIN: Final = Index(0)


class Kept:
    """The files that a history leaves, and where the log behind it ends."""

    def __init__(self) -> None:
        self.disk = SimDisk()
        with small_ranges():
            history = History(7).run(120)
            sealed = history.machine.take_sealed()
            frozen = history.machine.take_snapshot()
        assert frozen is not None, "a cut without tables"
        self.snapshot = self._path("snapshot", frozen.index, ".tables")
        self._write(self.snapshot, b"".join(frozen.chunks()))
        self.ranges = [self._path("index", each.first_index, ".qx") for each in sealed]
        for path, each in zip(self.ranges, sealed, strict=True):
            self._write(path, bytes(each.encoded))
        write_rows(self.disk.files(), FOLDER, [ConfigurationRow(Index(1), 7, b"")])
        self.end = history.entries[-1].index

    def _path(self, part: str, index: Index, suffix: str) -> str:
        return f"{FOLDER}/{part}/{index:020d}{suffix}"

    def _write(self, path: str, data: bytes) -> None:
        self.disk.files().open(path, create=True).pwrite([data], 0)

    def look(self, start: Index = ORIGIN) -> FilesReport:
        """Inspect them, and see that nothing was done."""
        before = self.disk.operations
        found = inspect_files(self.disk.files(), FOLDER, start, self.end)
        assert self.disk.operations == before, "an inspection has changed something"
        return found


@pytest.fixture(scope="module")
def kept() -> Kept:
    """Several ranges, and the tables at the end of the last one."""
    return Kept()


def test_good_files_are_counted(kept: Kept) -> None:
    """And found good."""
    assert len(kept.ranges) > 1
    assert kept.look() == FilesReport(len(kept.ranges), 1, ())


def test_every_flipped_bit_and_every_cut_is_damage(kept: Kept) -> None:
    """Of a range and of a snapshot, at any byte."""
    for path in (kept.ranges[0], kept.snapshot):
        size = len(kept.disk.content(path))
        for offset in range(0, size, max(1, size // 400)):
            kept.disk.flip_bit(path, offset, offset % 8)
            (finding,) = kept.look().findings
            assert (finding.file, finding.verdict) == (path, "damage"), offset
            kept.disk.flip_bit(path, offset, offset % 8)
    for size in (0, 10, 40):
        cut = Kept()
        cut.disk.cut_file(cut.snapshot, size)
        cut.disk.cut_file(cut.ranges[-1], size)
        assert {found.file for found in cut.look().findings} == {cut.snapshot, cut.ranges[-1]}
    assert kept.look().findings == ()


def test_a_file_under_a_wrong_name_is_damage() -> None:
    """Good bytes in the wrong place lead to the wrong records."""
    cut = Kept()
    cut.disk.files().rename(cut.ranges[0], f"{FOLDER}/index/{7:020d}.qx")
    cut.disk.files().rename(cut.snapshot, f"{FOLDER}/snapshot/{7:020d}.tables")
    assert [found.verdict for found in cut.look().findings] == ["damage", "damage"]


def test_what_has_no_name_yet_is_unfinished() -> None:
    """It is written or fetched again."""
    cut = Kept()
    for name in ("index/1.qx.new", "snapshot/2.tables.fetched", "snapshot/notes"):
        cut.disk.files().open(f"{FOLDER}/{name}", create=True)
    found = cut.look()
    assert [each.verdict for each in found.findings] == ["unfinished"] * 3
    assert (found.ranges, found.snapshots) == (len(cut.ranges), 1)


def test_two_bad_copies_of_the_members_are_damage() -> None:
    """One is enough."""
    cut = Kept()
    path = f"{FOLDER}/{MEMBERS}"
    cut.disk.flip_bit(path, 3, 0)
    assert cut.look().findings == ()
    cut.disk.flip_bit(path, len(cut.disk.content(path)) // 2 + 3, 0)
    (finding,) = cut.look().findings
    assert (finding.file, finding.verdict) == (path, "damage")


def test_a_trimmed_log_needs_a_snapshot_with_all_its_ranges() -> None:
    """Without one nothing leads to its first entry."""
    start = Index(5)
    assert Kept().look(start).findings == ()
    without = Kept()
    without.disk.files().remove(without.snapshot)
    (finding,) = without.look(start).findings
    assert "begins behind entry 5, and no good snapshot" in finding.what
    gap = Kept()
    gap.disk.files().remove(gap.ranges[-1])
    (finding,) = gap.look(start).findings
    assert (finding.file, finding.verdict) == (f"{FOLDER}/log", "damage")
    assert gap.look().findings == ()
