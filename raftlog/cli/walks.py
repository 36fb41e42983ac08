"""Walks through the log, as somebody watches them: what was found, and how far they are."""

import time
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from raftlog.cli.output import say

if TYPE_CHECKING:
    from raftlog.client.log_walking import WalkProgress

PROGRESS_S: Final = 1.0
"""Between two lines of progress."""

T = TypeVar("T")


class Walk(Protocol[T]):
    """What is walked: one question after the other."""

    async def step(self) -> list[T] | None:
        """Ask one; None: all was looked at."""

    @property
    def progress(self) -> "WalkProgress":
        """How far it is."""


async def follow(walk: Walk[T]) -> list[T]:
    """Walk to the end and return what was found; say now and then how far it is."""
    found: list[T] = []
    told_at = time.monotonic()
    while (more := await walk.step()) is not None:
        found += more
        if time.monotonic() >= told_at + PROGRESS_S:
            told_at = time.monotonic()
            say(show_walk(walk.progress))
    return found


def show_walk(progress: "WalkProgress") -> str:
    """Write how far a walk through the log is, in a line."""
    percent = 100 * progress.looked_at // progress.total if progress.total else 100
    gone = f", {progress.skipped:,} gone before they were looked at" if progress.skipped else ""
    return (
        f"{progress.found:,} found in {progress.looked_at:,} of {progress.total:,} log entries "
        f"({percent} %){gone}"
    )
