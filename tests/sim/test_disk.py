"""What only the simulated disk can do: sectors that are lost, and writes that went elsewhere."""

from random import Random

import pytest

from chaos.sim.contents import SECTOR_BYTES
from chaos.sim.disk import CrashKind, SimDisk, SimFile
from raftlog.base.limits import KIB


def written(disk: SimDisk) -> SimFile:
    """Return a synced file of eight sectors, each full of its number."""
    file = disk.files().open("d/file", create=True)
    file.pwrite([bytes([number]) * SECTOR_BYTES for number in range(8)], 0)
    file.sync()
    disk.files().sync_directory("d")
    return file


def test_a_lost_sector_fails_every_read_that_touches_it_until_it_is_written() -> None:
    disk = SimDisk()
    file = written(disk)
    disk.lose_sectors("d/file", 3 * SECTOR_BYTES + 5, 1)
    for length, offset in ((1, 3 * SECTOR_BYTES), (4 * KIB, 0), (2, 3 * SECTOR_BYTES - 1)):
        with pytest.raises(OSError, match="latent"):
            file.pread(length, offset)
    assert file.pread(3 * SECTOR_BYTES, 0)[-1] == 2
    assert file.pread(9_999, 4 * SECTOR_BYTES)[0] == 4
    disk.crash(Random(1), CrashKind.LOSE)
    file = disk.files().open("d/file")
    with pytest.raises(OSError, match="latent"):
        file.pread(1, 3 * SECTOR_BYTES)
    file.pwrite([b"x"], 3 * SECTOR_BYTES)
    assert file.pread(1, 3 * SECTOR_BYTES) == b"x"


def test_a_misplaced_write_is_there_after_a_power_cut_and_makes_nothing_longer() -> None:
    disk = SimDisk()
    written(disk)
    disk.misplace("d/file", 7 * SECTOR_BYTES, b"!" * 2 * SECTOR_BYTES)
    disk.crash(Random(1), CrashKind.LOSE)
    content = disk.content("d/file")
    assert len(content) == 8 * SECTOR_BYTES
    assert content[7 * SECTOR_BYTES :] == b"!" * SECTOR_BYTES


def test_a_lost_write_is_in_the_cache_until_the_power_fails() -> None:
    """A kill takes nothing from the cache; what was there before shows after a power cut."""
    disk = SimDisk()
    file = written(disk)
    disk.loses = lambda _, operation: operation[1] == 2 * SECTOR_BYTES
    for number in (2, 5):
        file.pwrite([b"!" * SECTOR_BYTES], number * SECTOR_BYTES)
        file.sync()
    disk.crash(Random(1), CrashKind.KEEP)
    seen = disk.content("d/file")
    assert seen[2 * SECTOR_BYTES : 3 * SECTOR_BYTES] == b"!" * SECTOR_BYTES
    assert disk.has_lost
    disk.settle(lost=True)
    disk.crash(Random(1), CrashKind.LOSE)
    seen = disk.content("d/file")
    assert seen[2 * SECTOR_BYTES : 3 * SECTOR_BYTES] == bytes([2]) * SECTOR_BYTES
    assert seen[5 * SECTOR_BYTES : 6 * SECTOR_BYTES] == b"!" * SECTOR_BYTES, "a later one landed"
    assert not disk.has_lost


def test_a_lost_write_that_made_a_file_longer_leaves_zeros() -> None:
    """The size is the file system's, and was written elsewhere."""
    disk = SimDisk()
    file = written(disk)
    disk.loses = lambda *_: True
    file.pwrite([b"!" * SECTOR_BYTES], 8 * SECTOR_BYTES)
    file.sync()
    disk.settle(lost=True)
    disk.crash(Random(1), CrashKind.LOSE)
    assert disk.content("d/file")[8 * SECTOR_BYTES :] == bytes(SECTOR_BYTES)


def test_what_lands_after_all_is_there_after_a_power_cut() -> None:
    """So does whatever was written over a lost write."""
    disk = SimDisk()
    file = written(disk)
    disk.loses = lambda *_: True
    for number in (2, 5):
        file.pwrite([b"!" * SECTOR_BYTES], number * SECTOR_BYTES)
    file.sync()
    disk.loses = None
    file.pwrite([b"?" * SECTOR_BYTES], 5 * SECTOR_BYTES)
    file.sync()
    other = disk.fork()
    disk.settle(lost=False)
    other.settle(lost=True)
    for each, second in ((disk, b"!"), (other, bytes([2]))):
        each.crash(Random(1), CrashKind.LOSE)
        seen = each.content("d/file")
        assert seen[2 * SECTOR_BYTES : 3 * SECTOR_BYTES] == second * SECTOR_BYTES
        assert seen[5 * SECTOR_BYTES : 6 * SECTOR_BYTES] == b"?" * SECTOR_BYTES


def test_a_dropped_page_shows_a_lost_write_to_who_runs() -> None:
    """What nobody has synced yet stays in the cache."""
    disk = SimDisk()
    file = written(disk)
    disk.loses = lambda *_: True
    file.pwrite([b"!" * SECTOR_BYTES], 2 * SECTOR_BYTES)
    file.sync()
    file.pwrite([b"?"], 5 * SECTOR_BYTES)
    disk.settle(lost=True)
    assert file.pread(1, 2 * SECTOR_BYTES) == bytes([2])
    assert file.pread(1, 5 * SECTOR_BYTES) == b"?"
