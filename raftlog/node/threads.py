"""The real scheduler, writer and reader: one event loop, two threads per disk.

The writer thread performs plans one by one; the reader thread serves what is
not in memory or page cache. Both report back with ``call_soon_threadsafe``, so
everything that decides stays on the loop and needs no lock.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from raftlog.base.clock import SystemClock
from raftlog.base.turn import turn_of
from raftlog.node.ports import Plan, Timer

T = TypeVar("T")
_STOP: Final = None


class LoopScheduler(SystemClock):
    """Time and turns of the running event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._turn = turn_of(loop)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Make ``call`` in the next turn of the loop."""
        self._loop.call_soon(call)

    def defer(self, call: Callable[[], None]) -> None:
        """Make ``call`` when the current event has been handled."""
        self._turn.defer(call)

    def call_later(self, delay_ns: int, call: Callable[[], None]) -> Timer:
        """Make ``call`` after ``delay_ns``."""
        return self._loop.call_later(delay_ns / 1e9, call)


class DiskThread:
    """A thread that does blocking work in the order in which it was given.

    It is a daemon only so that a stuck disk cannot keep a dying process alive;
    ``close`` waits for it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._turn = turn_of(loop)
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """End the thread after the work it has; return whether it ended in time."""
        self._work.put(_STOP)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def put(self, work: Callable[[], None]) -> None:
        """Queue one piece of work, which must not raise."""
        self._work.put(work)

    def report(self, call: Callable[[], None]) -> None:
        """Make ``call`` on the loop; nobody listens any more when the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self._turn.handle, call)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _run(self) -> None:
        while (work := self._work.get()) is not _STOP:
            work()


class WriterThread(DiskThread):
    """The log writer of one disk."""

    def submit(self, plan: Plan, done: Callable[[Exception | None], None]) -> None:
        """Perform ``plan`` on the thread, then call ``done`` on the loop."""

        def work() -> None:
            error: Exception | None = None
            try:
                plan.perform()
            except Exception as failed:  # noqa: BLE001  (reported: the replica stops)
                error = failed
            self.report(lambda: done(error))

        self.put(work)


class ReaderThread(DiskThread):
    """The reader of one disk."""

    def submit(
        self, work: Callable[[], T], done: Callable[[T | None, Exception | None], None]
    ) -> None:
        """Run ``work`` on the thread, then call ``done`` on the loop."""

        def run() -> None:
            found: T | None = None
            error: Exception | None = None
            try:
                found = work()
            except Exception as failed:  # noqa: BLE001  (reported to who asked)
                error = failed
            self.report(lambda: done(found, error))

        self.put(run)
