"""Whether a queue can still tell what became of a batch, and whether that may be sent again.

For batches that are written down before they are sent, by a spool or a relay. A queue forgets
its producers: what it does not know then was perhaps stored, and sent again it is stored again.
So it hangs on a batch's age, on a machine whose clock may be wrong. The clock of a till or a
vehicle may lose the date, or be put back: what it shows is taken as a lower bound only, and
each doubt counts as "too old", which asks a human instead of storing twice.

::

    written down by this process    the time that has run since, or the clock's if that is more:
                                    a machine that was held may not know of it
    found when the spool opened     the clock's; no age at all while it is behind what the
                                    spool itself has noted, or before there were spools
"""

import time
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Final, Protocol

from raftlog.base.limits import PRODUCER_FORGOTTEN_MS

DECIDED_MS_MAX: Final = PRODUCER_FORGOTTEN_MS * 5 // 7
"""A batch that was written down so long ago may be forgotten by its queue: nobody can say."""
BEGINNING_S: Final = 1_767_225_600
"""The beginning of 2026: a clock before it has not been set."""
DAY_MS: Final = 24 * 3600 * 1000
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)
run_s: Final[Callable[[], float]] = (
    time.monotonic if _BOOT_CLOCK is None else partial(time.clock_gettime, _BOOT_CLOCK)
)
"""Seconds since some moment, those in which the machine sleeps too; nobody sets it."""


class Written(Protocol):
    """A batch that is written down. Two are equal if they are the same one."""

    @property
    def queue(self) -> int:
        """The number of its queue."""

    @property
    def sequence(self) -> int:
        """Of its first record, in its producer's epoch."""

    @property
    def made_ms(self) -> int:
        """When it was made, by the machine's clock."""

    @property
    def idle_days(self) -> int:
        """For how long its queue had been sent nothing by its process before, in whole days."""


class Doubt(Enum):
    """Why a batch may be stored although its queue does not say so."""

    FORGOTTEN = auto()
    """It was sent so long ago that the queue may have forgotten it."""
    UNDATED = auto()
    """The clock has gone back since: it may be as old as that."""


class Ages:
    """The ages of one spool's or relay's batches, in ms.

    Args:
        now_ms: The machine's clock.
        noted_ms: The latest time that was found written down in the beginning.
        run_s: Seconds that have run.
        back_ms: By so much the clock may stand before a batch that was found: another machine
            has made it.
    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        noted_ms: int = 0,
        run_s: Callable[[], float] = run_s,
        back_ms: int = 0,
    ) -> None:
        self._now_ms: Final = now_ms
        self._noted_ms: Final = noted_ms
        self._run_s: Final = run_s
        self._back_ms: Final = back_ms
        self._opened_ms: Final = now_ms()
        self._opened_s: Final = run_s()
        self._begun: dict[int, tuple[Written, float]] = {}
        """By queue, its last batch of this process, and when it was written down."""

    def begin(self, batch: Written) -> None:
        """Take note of a batch that was written down just now, and not sent yet."""
        self._begun[batch.queue] = (batch, self._run_s())

    def idle_days(self, queue: int) -> int:
        """Return how old the last batch of this process for a queue is; 0: there is none."""
        mine, _ = self._begun.get(queue, (None, 0.0))
        age = None if mine is None else self.of(mine)
        return 0 if age is None else max(0, age) // DAY_MS

    def of(self, batch: Written) -> int | None:
        """Return at least how old a batch is; None: the clock has gone back, nobody can say."""
        shown = self._now_ms() - batch.made_ms
        mine, begun_s = self._begun.get(batch.queue, (None, 0.0))
        unset_ms = BEGINNING_S * 1000
        if mine == batch:
            ran = int((self._run_s() - begun_s) * 1000)
            return ran if batch.made_ms < unset_ms else max(shown, ran)
        if self._now_ms() < max(self._noted_ms, batch.made_ms - self._back_ms, unset_ms):
            return None
        ran = int((self._run_s() - self._opened_s) * 1000)
        return max(shown, self._opened_ms - batch.made_ms + ran)

    def may_be_sent(self, batch: Written) -> bool:
        """Whether its queue knows it for certain, if it is stored: sent again it is not again."""
        age = self.of(batch)
        return age is not None and age <= DECIDED_MS_MAX

    def doubt(self, batch: Written, next_sequence: int) -> Doubt | None:
        """Return why a batch may be stored although a fence has not found it, if so.

        Args:
            batch: That is to be judged.
            next_sequence: How far its epoch had come, says the fence; not behind the batch.
        """
        # A queue that still knows of batches before this one has not forgotten it.
        if next_sequence == batch.sequence > 0:
            return None
        # It knew what was before it, unless it was idle so long that it had forgotten that first.
        knew = batch.idle_days < 1
        if knew and next_sequence < batch.sequence:
            return Doubt.FORGOTTEN
        age = self.of(batch)
        if age is None:
            return Doubt.UNDATED
        return Doubt.FORGOTTEN if age > DECIDED_MS_MAX else None
