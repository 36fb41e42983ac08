"""Requests that wait for something to happen: long polls (ruling 25: soft state).

Each waits under a key: a queue that may get records, a group that may begin a
generation. It costs one row and one timer, and nothing at all when something
happens under another key. It is woken by apply, never by polling; it ends by
its deadline, by its connection, or with the service. Who is woken looks again
for itself: being woken promises nothing.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from raftlog.base.limits import PENDING_READS_MAX
from raftlog.node.ports import Scheduler, Timer

K = TypeVar("K", bound=Hashable)


class Waiter(Generic[K]):
    """One waiting request."""

    __slots__ = ("_timer", "_waiting", "_wake", "key")

    def __init__(self, waiting: "Waiting[K]", key: K, wake: Callable[[bool], None]) -> None:
        self._waiting = waiting
        self._timer: Timer | None = None
        self.key = key
        self._wake = wake

    def arm(self, scheduler: Scheduler, delay_ns: int) -> None:
        """End the wait after ``delay_ns``."""
        self._timer = scheduler.call_later(delay_ns, self._expire)

    def leave(self) -> Callable[[bool], None]:
        """Stop waiting; ``wake`` is not called any more. Harmless when it was.

        Returns:
            What was to be called. It is let go: as a rule it belongs to who has this waiter, and
            the circle of the two would wait for the garbage collector.
        """
        wake, self._wake = self._wake, _nobody
        self._waiting.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return wake

    def _expire(self) -> None:
        self.leave()(True)


def _nobody(_expired: bool) -> None:  # noqa: FBT001  (as who waits is called)
    """Nobody waits any more."""


class Waiting(Generic[K]):
    """The requests of one kind that wait in one shard."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waiters: dict[K, dict[Waiter[K], None]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Count the requests that wait."""
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether another one must be refused rather than wait."""
        return self._count >= PENDING_READS_MAX

    def has(self, key: K) -> bool:
        """Whether a request waits under ``key``."""
        return key in self._waiters

    def add(self, key: K, delay_ns: int, wake: Callable[[bool], None]) -> Waiter[K]:
        """Call ``wake(expired)`` once: when the key is woken, or after ``delay_ns``."""
        waiter = Waiter(self, key, wake)
        self._waiters.setdefault(key, {})[waiter] = None
        self._count += 1
        waiter.arm(self._scheduler, delay_ns)
        return waiter

    def discard(self, waiter: Waiter[K]) -> None:
        """Forget a waiter, if it waits."""
        waiters = self._waiters.get(waiter.key)
        if waiters is None or waiter not in waiters:
            return
        del waiters[waiter]
        self._count -= 1
        if not waiters:
            del self._waiters[waiter.key]

    def wake(self, key: K) -> None:
        """Something happened under ``key``: each that waits for it looks again, once."""
        waiters = self._waiters.get(key)
        if waiters is None:
            return
        for waiter in list(waiters):
            if waiter in waiters:  # an earlier one may have ended it
                waiter.leave()(False)

    def wake_all(self) -> None:
        """Everything has changed: each that waits looks again, once."""
        for key in list(self._waiters):
            self.wake(key)
