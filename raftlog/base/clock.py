"""The one way to ask for the time, so that a simulation can answer.

Monotonic time measures; wall time is only ever *recorded*. Nothing decides by
the wall clock.
"""

import time
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """What a shell reads time from. Called from the event loop only."""

    def now_ns(self) -> int:
        """Nanoseconds since some fixed moment; never goes back, and goes on in sleep."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970 by this machine's clock; may jump."""


class SystemClock:
    """The machine's clocks."""

    # CLOCK_MONOTONIC stands still while the machine is suspended: a leader that was asleep
    # would believe in its lease (``raft/lease.py``).
    now_ns = staticmethod(partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME))

    def wall_ms(self) -> int:
        """Read CLOCK_REALTIME."""
        return time.time_ns() // 1_000_000
