"""How full is full: 85 % for topics, 90 % for records, and a reserve."""

import pytest

from raftlog.base.limits import MIB
from raftlog.base.space import DiskLevel, DiskLimits, Space, level_of

GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("used_percent", "level"),
    [
        (0, DiskLevel.ROOM),
        (84.9, DiskLevel.ROOM),
        (85, DiskLevel.SCARCE),
        (89.9, DiskLevel.SCARCE),
        (90, DiskLevel.FULL),
        (100, DiskLevel.FULL),
    ],
)
def test_levels_begin_where_the_design_says(used_percent: float, level: DiskLevel) -> None:
    """Ruling 25."""
    free = round(50 * GIB * (100 - used_percent) / 100)

    assert level_of(Space(50 * GIB, free), DiskLimits(), reserved=True) is level


def test_a_tenth_of_a_large_disk_is_plenty() -> None:
    """Most disks of people who try something out are fuller than 85 %."""
    large = 1000 * GIB

    assert level_of(Space(large, 10 * GIB), DiskLimits(), reserved=True) is DiskLevel.ROOM
    assert level_of(Space(large, 10 * GIB - 1), DiskLimits(), reserved=True) is DiskLevel.FULL


def test_without_its_reserve_a_disk_with_less_than_that_is_full() -> None:
    """On a large disk 90 % may never be reached: what was given up must come back first."""
    space = Space(100 * MIB, 60 * MIB)

    assert level_of(space, DiskLimits(), reserved=False) is DiskLevel.FULL
    assert level_of(space, DiskLimits(), reserved=True) is DiskLevel.ROOM


def test_a_file_system_that_says_nothing_is_not_full() -> None:
    """Some report no blocks at all."""
    assert level_of(Space(0, 0), DiskLimits(), reserved=True) is DiskLevel.ROOM
