"""How fast a replica gives out what a peer lacks: so that the shard's own traffic has the rest.

Files of a snapshot and entries that are no longer in memory go to whoever was away.
Unbounded, they take the loop, the disk and the network of nodes that serve, and every
caller waits. Bounded, the pace must still be faster than what is written meanwhile, or
nobody would ever catch up: so it is a fixed rate, and at least twice what this replica
has written lately.
"""

from collections.abc import Callable
from typing import Final

from raftlog.base.clock import Clock
from raftlog.base.limits import CATCH_UP_BYTES_PER_S

SECOND_NS: Final = 1_000_000_000
OUTPACED: Final = 2
"""So many times as fast as what is written."""


class CatchUpPace:
    """Gives everything that leaves its moment, one after the other, whoever it is for."""

    def __init__(self, clock: Clock, written: Callable[[], int]) -> None:
        """Make it; ``written`` counts the bytes that this replica has written."""
        self._clock: Final = clock
        self._written: Final = written
        self._free_ns = 0
        self._looked_ns = clock.now_ns()
        self._written_then = written()
        self._rate = CATCH_UP_BYTES_PER_S

    def leave(self, size: int) -> int:
        """Take the next moment for ``size`` bytes; return in how many nanoseconds that is."""
        now_ns = self._clock.now_ns()
        self._look(now_ns)
        at_ns = max(now_ns, self._free_ns)
        self._free_ns = at_ns + size * SECOND_NS // self._rate
        return at_ns - now_ns

    def _look(self, now_ns: int) -> None:
        """Measure, once a second, how fast the log grows."""
        passed_ns = now_ns - self._looked_ns
        if passed_ns < SECOND_NS:
            return
        written = self._written()
        per_s = (written - self._written_then) * SECOND_NS // passed_ns
        self._rate = max(CATCH_UP_BYTES_PER_S, OUTPACED * per_s)
        self._looked_ns, self._written_then = now_ns, written
