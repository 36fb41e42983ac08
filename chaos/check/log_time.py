"""Log time (ruling 8): never back, not far ahead of right clocks, not left behind by them.

Told the stamp of each committed entry, in order, and the true time at which a leader made
it, or at which it was seen: only what no delay explains is broken.

The first stamp of all may be any: until then nothing was timed. From there on
log time may run a tenth too fast, and a majority of wrong clocks may move it
anywhere, so what is said of true time is said where a majority's clocks are right.
"""

from typing import Final

from chaos.check.violation import Violation

NAME: Final = "log_time"
STEERING: Final = 0.1
"""Log time runs so much faster than time, at most."""
AGREE_MS: Final = 1_000
"""Clocks nearer than that agree: log time is not moved at once by less."""
DRIFT: Final = 0.06
"""A quartz counts so much faster than time, at most."""
LATE_MS: Final = 20_000
"""The longest that the first entry needed to be seen by anybody."""
PATIENCE_MS: Final = 8_000
"""What was heard of clocks is used for five seconds, right or wrong."""
SETTLED_MS: Final = 3_000
"""With right clocks, and nothing in the way, a stamp is not further behind."""


class LogTime:
    """The stamps of one log."""

    def __init__(self, *, majority_is_right: bool) -> None:
        self._majority_is_right = majority_is_right
        self._last_ms = 0
        self._first: tuple[int, int] | None = None
        """The first stamp, and the true time at which it was seen."""
        self._behind_ms = 0
        self._seen_ms = 0

    def stamped(self, stamp_ms: int, true_ms: int) -> int:
        """Take in the stamp of the next entry; return by how much log time has gone on.

        Raises:
            Violation: It goes back, or forward by more than time and clocks explain.
        """
        if self._first is None:
            self._first = (stamp_ms, true_ms)
            self._last_ms = stamp_ms
        passed_ms = stamp_ms - self._last_ms
        if passed_ms < 0:
            raise Violation(NAME, f"log time goes back from {self._last_ms} to {stamp_ms}")
        self._last_ms = stamp_ms
        self._behind_ms = true_ms - stamp_ms
        self._seen_ms = true_ms
        if self._majority_is_right:
            self._check_ahead(stamp_ms, true_ms, self._first)
        return passed_ms

    def _check_ahead(self, stamp_ms: int, true_ms: int, first: tuple[int, int]) -> None:
        first_ms, seen_ms = first
        # Everything before the first stamp was seen may have passed before it was made.
        beginning_ms = max(first_ms, seen_ms)
        fastest = (true_ms - seen_ms) * (1 + STEERING) * (1 + DRIFT)
        latest_ms = beginning_ms + fastest + AGREE_MS + LATE_MS
        if stamp_ms > latest_ms:
            raise Violation(
                NAME,
                f"log time is {stamp_ms - true_ms} ms ahead of the clocks of a majority; "
                f"the first stamp was {first_ms - seen_ms} ms ahead",
            )

    def settled(self, since_ms: int) -> bool:
        """All has been well since then; return whether the last entry came long enough after it.

        Raises:
            Violation: Log time is still behind, though a majority's clocks are right.
        """
        if not self._majority_is_right or self._seen_ms < since_ms + PATIENCE_MS:
            return False
        if self._behind_ms > SETTLED_MS:
            raise Violation(NAME, f"log time is {self._behind_ms} ms behind a majority's clocks")
        return True
