"""Wall clocks: right within some milliseconds, or an hour off, or standing still."""

from typing import Final

from chaos.sim.events import MS_NS, EventQueue

BEGINNING_MS: Final = 1_000_000_000
"""The true time at which a run begins."""


class WallClock:
    """The wall clock of one machine; it goes on while no process runs."""

    def __init__(self, queue: EventQueue, error_ms: int = 0) -> None:
        self._queue = queue
        self._error_ms = error_ms
        self._stands_at_ms: int | None = None

    def now_ms(self) -> int:
        """Return what it shows."""
        if self._stands_at_ms is not None:
            return self._stands_at_ms
        return true_ms(self._queue) + self._error_ms

    def jump(self, by_ms: int) -> None:
        """Show something else from now on, and go."""
        shown = self.now_ms()
        self._stands_at_ms = None
        self._error_ms = max(0, shown + by_ms) - true_ms(self._queue)

    def stand(self) -> None:
        """Stand still until it is set again."""
        self._stands_at_ms = self.now_ms()

    def set_right(self) -> None:
        """Show the true time."""
        self._error_ms = 0
        self._stands_at_ms = None


def true_ms(queue: EventQueue) -> int:
    """Return what a right clock shows now."""
    return BEGINNING_MS + queue.now_ns // MS_NS
