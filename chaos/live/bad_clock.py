"""The wall clock of a node, which somebody may set wrong.

Only it: what measures time never jumps, on no machine. This needs no faketime, as everything in
a node asks one class for the time (``raftlog.base.clock``).
"""

from typing import Final

from raftlog.base.clock import SystemClock


class BadClock:
    """What all of a process's wall clocks show."""

    def __init__(self) -> None:
        self.shift_ms = 0
        self.reads = 0
        """How often it was read while it was wrong."""

    def install(self) -> None:
        """From now on this is what everybody in this process reads."""
        right: Final = SystemClock.wall_ms

        def wall_ms(clock: SystemClock) -> int:
            self.reads += bool(self.shift_ms)
            return right(clock) + self.shift_ms

        SystemClock.wall_ms = wall_ms  # type: ignore[method-assign,assignment]

    def set(self, shift_ms: int) -> None:
        """Be so much ahead from now on, or behind; 0: be right."""
        self.shift_ms = shift_ms
