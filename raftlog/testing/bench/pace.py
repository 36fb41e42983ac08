"""How long a run goes on, and what it says meanwhile (on stderr, once a second)."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from raftlog.testing.bench.report import Options

Say = Callable[[str], None]
"""Tells the user how it goes."""

REPORT_S: Final = 1.0


class Pace:
    """A measured stretch of time. A context manager round everything that is measured.

    Sends that are in flight at the end are awaited and counted: the time runs
    until the last of them was answered.
    """

    def __init__(self, options: Options, done: Callable[[], int], say: Say) -> None:
        self._duration_s = options.duration_s
        self._count = options.count
        self._done = done
        self._say = say
        self._over = False
        self._began = 0.0
        self._begun = 0
        self._told = 0
        self._timers: list[asyncio.TimerHandle] = []
        self.seconds = 0.0

    def __enter__(self) -> Self:
        """Begin."""
        loop = asyncio.get_running_loop()
        self._began = time.perf_counter()
        if not self._count:
            self._timers.append(loop.call_later(self._duration_s, self.end))
        self._timers.append(loop.call_later(REPORT_S, self._report))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the time."""
        self.seconds = time.perf_counter() - self._began
        for timer in self._timers:
            timer.cancel()

    def goes_on(self) -> bool:
        """Whether one more is sent; counts it."""
        if self._over:
            return False
        self._begun += 1
        if self._begun == self._count:
            self._over = True
        return True

    def end(self) -> None:
        """Nothing more is sent from now on."""
        self._over = True

    def _report(self) -> None:
        done = self._done()
        rate = (done - self._told) / REPORT_S
        self._told = done
        elapsed = time.perf_counter() - self._began
        self._say(f"  {elapsed:5.1f} s  {done:>12,} acked  {rate:>10,.0f} /s")
        loop = asyncio.get_running_loop()
        self._timers[-1] = loop.call_later(REPORT_S, self._report)
