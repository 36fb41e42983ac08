"""Reads that wait for something to be applied: long polls (ruling 25: soft state).

A waiting read costs one row and one timer. It is woken by apply, never by
polling; it ends by its deadline, by its connection, or with the service. A
woken read looks again for itself: being woken promises nothing.
"""

from collections.abc import Callable

from raftlog.base.limits import PENDING_READS_MAX
from raftlog.node.ports import Scheduler, Timer


class Waiter:
    """One waiting read."""

    __slots__ = ("_timer", "_waiting", "wake")

    def __init__(self, waiting: "WaitingReads", wake: Callable[[bool], None]) -> None:
        self._waiting = waiting
        self._timer: Timer | None = None
        self.wake = wake

    def arm(self, scheduler: Scheduler, delay_ns: int) -> None:
        """End the wait after ``delay_ns``."""
        self._timer = scheduler.call_later(delay_ns, self._expire)

    def leave(self) -> None:
        """Stop waiting; ``wake`` is not called any more. Harmless when it was."""
        self._waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self.leave()
        self.wake(True)


class WaitingReads:
    """The reads of one shard that wait for apply."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiters: dict[Waiter, None] = {}

    def __len__(self) -> int:
        """Count the reads that wait."""
        return len(self._waiters)

    @property
    def is_full(self) -> bool:
        """Whether another read must be refused rather than wait."""
        return len(self._waiters) >= PENDING_READS_MAX

    def add(self, delay_ns: int, wake: Callable[[bool], None]) -> Waiter:
        """Call ``wake(expired)`` once: at the next progress, or after ``delay_ns``."""
        waiter = Waiter(self, wake)
        self._waiters[waiter] = None
        waiter.arm(self._scheduler, delay_ns)
        return waiter

    def discard(self, waiter: Waiter) -> None:
        """Forget a waiter, if it waits."""
        self._waiters.pop(waiter, None)

    def wake(self) -> None:
        """More was applied: every read that waits looks again, once."""
        if not self._waiters:
            return
        for waiter in list(self._waiters):
            if waiter in self._waiters:  # an earlier one may have ended it
                waiter.leave()
                waiter.wake(False)
