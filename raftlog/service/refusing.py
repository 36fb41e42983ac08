"""What is refused because the disks fill up (ruling 25), and in which words."""

from typing import Final

from raftlog.base.errors import DiskFull
from raftlog.base.limits import SPACE_LOOK_NS

RETRY_AFTER_S: Final = SPACE_LOOK_NS / 1e9
"""Levels are looked at so often: asking sooner is in vain."""


def disk_full(what: str) -> DiskFull:
    """Return the refusal of ``what``."""
    return DiskFull(f"the disks of a majority are too full for {what}", RETRY_AFTER_S)
