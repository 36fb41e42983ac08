"""Latencies of a run, and their quantiles.

On the hot path a latency costs one append of a double to an array; everything
else happens after the run. Quantiles are exact to a microsecond: each is the
smallest value that at least that share of the sends did not exceed.
"""

from array import array
from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from typing import Final

import msgspec

SHARES: Final = (0.5, 0.99, 0.999)


class Quantiles(msgspec.Struct, frozen=True):
    """Milliseconds that half, 99 % and 99.9 % of the sends did not exceed."""

    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None


class Latencies:
    """Seconds that sends took, in the order in which they ended."""

    def __init__(self) -> None:
        self._seconds = array("d")
        self.add: Final[Callable[[float], None]] = self._seconds.append

    def __len__(self) -> int:
        """Count the sends."""
        return len(self._seconds)

    def quantiles(self) -> Quantiles:
        """Return the quantiles; all None if nothing was measured."""
        if not self._seconds:
            return Quantiles()
        counts = sorted(Counter(-int(-seconds * 1e6 // 1) for seconds in self._seconds).items())
        sums = list(accumulate(count for _, count in counts))
        found = []
        for share in SHARES:
            needed = share * len(self._seconds)
            place = next(place for place, total in enumerate(sums) if total >= needed)
            found.append(counts[place][0] / 1000)
        return Quantiles(*found)
