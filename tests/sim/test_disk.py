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
