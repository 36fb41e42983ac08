"""How old a batch is that was perhaps sent, on a machine whose clock may be wrong.

A queue forgets its producers, so whether a batch can be sent again may hang on its age. The
clock of a till or a vehicle may lose the date, or be put back: what it shows is taken as a lower
bound only, and each doubt counts as "too old", which asks a human instead of storing twice.

::

    written down by this process    the time that has run since, or the clock's if that is more:
                                    a machine that was held may not know of it
    found when the spool opened     the clock's; no age at all while it is behind what the
                                    spool itself has noted, or before there were spools
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from raftlog.spool.contents import Attempt

BEGINNING_S: Final = 1_767_225_600
"""The beginning of 2026: a clock before it has not been set."""
DAY_MS: Final = 24 * 3600 * 1000
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)
run_s: Final[Callable[[], float]] = (
    time.monotonic if _BOOT_CLOCK is None else partial(time.clock_gettime, _BOOT_CLOCK)
)
"""Seconds since some moment, those in which the machine sleeps too; nobody sets it."""


class Ages:
    """The ages of one spool's batches, in ms.

    Args:
        now_ms: The machine's clock.
        noted_ms: The latest time that the spool found written down when it was opened.
        run_s: Seconds that have run.
    """

    def __init__(
        self, now_ms: Callable[[], int], noted_ms: int, run_s: Callable[[], float] = run_s
    ) -> None:
        self._now_ms: Final = now_ms
        self._noted_ms: Final = noted_ms
        self._run_s: Final = run_s
        self._opened_ms: Final = now_ms()
        self._opened_s: Final = run_s()
        self._begun: dict[int, tuple[Attempt, float]] = {}
        """By queue, its last batch of this process, and when it was written down."""

    def begin(self, attempt: Attempt) -> None:
        """Take note of a batch that is being written down."""
        self._begun[attempt.queue] = (attempt, self._run_s())

    def idle_days(self, queue: int) -> int:
        """Return how old the last batch of this process for a queue is; 0: there is none."""
        mine, _ = self._begun.get(queue, (None, 0.0))
        age = None if mine is None else self.of(mine)
        return 0 if age is None else max(0, age) // DAY_MS

    def of(self, attempt: Attempt) -> int | None:
        """Return at least how old a batch is; None: the clock has gone back, nobody can say."""
        shown = self._now_ms() - attempt.made_ms
        mine, begun_s = self._begun.get(attempt.queue, (None, 0.0))
        unset_ms = BEGINNING_S * 1000
        if mine == attempt:
            ran = int((self._run_s() - begun_s) * 1000)
            return ran if attempt.made_ms < unset_ms else max(shown, ran)
        if self._now_ms() < max(self._noted_ms, attempt.made_ms, unset_ms):
            return None
        ran = int((self._run_s() - self._opened_s) * 1000)
        return max(shown, self._opened_ms - attempt.made_ms + ran)
