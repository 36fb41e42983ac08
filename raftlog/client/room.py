"""Room for what was accepted and has no receipt yet: bounded, first come, first served."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from raftlog.base.errors import BufferFull, RaftlogError

WAITERS_MAX: Final = 100_000
"""Sends that wait for room; beyond it they are refused at once."""
_LEAST_S: Final = 0.001
_NEVER_S: Final = 1e9


class _Waiter(NamedTuple):
    admit: Callable[[float], None]
    """Called with the seconds that are left, when it is its turn."""
    is_over: Callable[[], bool]
    fail: Callable[[RaftlogError], None]
    timer: asyncio.TimerHandle


class Room:
    """Counts records and bytes of one producer. Bound to its loop.

    Args:
        loop: The producer's loop.
        records_max: So many records, at most.
        bytes_max: So many bytes, about.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, records_max: int, bytes_max: int
    ) -> None:
        if records_max < 1 or bytes_max < 1:
            raise ValueError("a producer's buffer holds at least one record")
        # Plain attributes: the hot path of sending reads them for each record.
        self.records = 0
        self.bytes = 0
        self._loop = loop
        self.records_max = records_max
        self.bytes_max = bytes_max
        self.waiters: deque[_Waiter] = deque()
        self._is_letting_in = False

    @property
    def is_full(self) -> bool:
        """Whether what comes now has to wait."""
        return (
            self.records >= self.records_max or self.bytes >= self.bytes_max or bool(self.waiters)
        )

    def enter(self, records: int, size: int) -> None:
        """Something was accepted."""
        self.records += records
        self.bytes += size

    def leave(self, records: int, size: int) -> None:
        """Something has its receipt, or its error."""
        self.records -= records
        self.bytes -= size
        if self.waiters and not self._is_letting_in:  # else whoever lets in goes on
            self._let_in()

    def full(self) -> BufferFull:
        """Return the error for what can't wait."""
        return BufferFull(f"{self.records} records of {self.bytes} bytes have no receipt yet")

    def wait(
        self,
        timeout_s: float,
        *,
        admit: Callable[[float], None],
        is_over: Callable[[], bool],
        fail: Callable[[RaftlogError], None],
    ) -> None:
        """Call ``admit`` with the time that is left, when there is room; else ``fail``."""
        if len(self.waiters) >= WAITERS_MAX:
            fail(BufferFull(f"{len(self.waiters)} sends wait for room already"))
            return

        def give_up() -> None:
            if not is_over():
                fail(BufferFull(f"there was no room within {timeout_s:g} s"))
            if not self._is_letting_in:
                self._let_in()

        timer = self._loop.call_later(timeout_s, give_up)
        self.waiters.append(_Waiter(admit, is_over, fail, timer))

    async def ready(self, timeout_s: float) -> None:
        """Wait until there is room.

        Raises:
            BufferFull: There was none in time.
        """
        while self.is_full:
            future: asyncio.Future[None] = self._loop.create_future()
            self.wait(
                timeout_s,
                admit=lambda _, future=future: future.set_result(None),  # type: ignore[misc]
                is_over=future.done,
                fail=future.set_exception,
            )
            await future

    async def passed(self) -> None:
        """Wait until everybody who waits now was let in, or has given up."""
        if not self.waiters:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_later(_NEVER_S, future.done)
        self.waiters.append(
            _Waiter(
                admit=lambda _: future.set_result(None),
                is_over=future.done,
                fail=future.set_exception,
                timer=timer,
            )
        )
        try:
            await future
        finally:
            timer.cancel()

    def close(self, error: RaftlogError) -> None:
        """Nobody is let in any more."""
        waiters, self.waiters = self.waiters, deque()
        for waiter in waiters:
            waiter.timer.cancel()
            if not waiter.is_over():
                waiter.fail(error)

    def _let_in(self) -> None:
        self._is_letting_in = True
        try:
            self._let_in_each()
        finally:
            self._is_letting_in = False

    def _let_in_each(self) -> None:
        waiters = self.waiters
        while waiters:
            if waiters[0].is_over():
                waiters.popleft().timer.cancel()
                continue
            if self.records >= self.records_max or self.bytes >= self.bytes_max:
                return
            waiter = waiters.popleft()
            left_s = max(waiter.timer.when() - self._loop.time(), _LEAST_S)
            waiter.timer.cancel()
            waiter.admit(left_s)
