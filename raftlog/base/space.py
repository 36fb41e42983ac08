"""How full a disk is, and what is refused because of that (ruling 25).

A node goes on when its disk fills up, and refuses what fills it::

    below 85 %   everything
    from 85 %    no new topics, and a warning
    from 90 %    no records either: ``DiskFull``, with when to ask again

With 10 GiB free it does not matter how much else is used: a tenth of a large disk is plenty.
Votes, configuration, positions of consumers and trims are never refused: they
are small, and the last of them is what makes room. For them a reserve is kept back.
"""

from enum import IntEnum
from typing import Final

import msgspec

from raftlog.base.limits import (
    DISK_FULL_PERCENT,
    DISK_PLENTY_BYTES,
    DISK_SCARCE_PERCENT,
    RESERVE_BYTES,
)


class DiskLevel(IntEnum):
    """What a node can still take. Higher is worse; the number is on the wire."""

    ROOM = 0
    SCARCE = 1
    FULL = 2


WORST: Final = DiskLevel.FULL


class DiskLimits(msgspec.Struct, frozen=True):
    """From which share of use on, in percent, where less than ``plenty_bytes`` are free."""

    scarce_percent: int = DISK_SCARCE_PERCENT
    full_percent: int = DISK_FULL_PERCENT
    plenty_bytes: int = DISK_PLENTY_BYTES


class Space(msgspec.Struct, frozen=True):
    """A file system, in bytes: what it holds at most, and what this process may still write."""

    total: int
    free: int

    @property
    def used_percent(self) -> float:
        """The share that is not free, as ``df`` counts it."""
        return 100 * (1 - self.free / self.total) if self.total else 0.0


def level_of(space: Space, limits: DiskLimits, *, reserved: bool) -> DiskLevel:
    """Judge a file system; ``reserved`` says whether the reserve is on it (and in its use)."""
    used = 0.0 if space.free >= limits.plenty_bytes else space.used_percent
    if used >= limits.full_percent or (not reserved and space.free < RESERVE_BYTES):
        return DiskLevel.FULL
    return DiskLevel.SCARCE if used >= limits.scarce_percent else DiskLevel.ROOM
