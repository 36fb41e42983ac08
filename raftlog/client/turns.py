"""Questions of one turn of the loop that go together: one request for many callers."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from raftlog.base.errors import RaftlogError

I = TypeVar("I")  # noqa: E741  (what is asked)
O = TypeVar("O")  # noqa: E741  (what is answered)

UNDER_WAY_MAX: Final = 4
"""Requests without an answer; what comes meanwhile shares the next one."""


class Asked(msgspec.Struct, Generic[I, O]):
    """One caller's question, and who waits."""

    item: I
    size: int
    future: "asyncio.Future[O]"


class Turns(Generic[I, O]):
    """Collects questions of one kind. Bound to its loop.

    Args:
        ask: Asks many at once; it ends every future, and does not raise.
        count_max: So many in one request.
        bytes_max: So many bytes, unless one alone has more.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[Asked[I, O]]], Awaitable[None]],
        *,
        count_max: int,
        bytes_max: int,
    ) -> None:
        self._ask: Final = ask
        self._count_max: Final = count_max
        self._bytes_max: Final = bytes_max
        self._loop: Final = asyncio.get_running_loop()
        self._waiting: Final[deque[Asked[I, O]]] = deque()
        self._resting: Final[dict[asyncio.Future[O], asyncio.TimerHandle]] = {}
        """What is asked again in a while."""
        self._under_way: Final[dict[asyncio.Task[None], Sequence[Asked[I, O]]]] = {}
        self._is_scheduled = False
        self._closed: RaftlogError | None = None

    def put(self, item: I, size: int = 0) -> "asyncio.Future[O]":
        """Ask with the others of this turn."""
        future: asyncio.Future[O] = self._loop.create_future()
        self._take(Asked(item, size, future))
        return future

    def again(self, asked: Asked[I, O], after_s: float) -> None:
        """Ask once more, in a while, what had no answer that lasts."""
        if self._closed is not None:
            end(asked.future, self._closed)
            return

        def take() -> None:
            del self._resting[asked.future]
            self._take(asked)

        self._resting[asked.future] = self._loop.call_later(after_s, take)

    def _take(self, asked: Asked[I, O]) -> None:
        if self._closed is not None:
            end(asked.future, self._closed)
            return
        self._waiting.append(asked)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled and self._waiting and len(self._under_way) < UNDER_WAY_MAX:
            self._is_scheduled = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._is_scheduled = False
        batch: list[Asked[I, O]] = []
        size = 0
        waiting = self._waiting
        while waiting and len(batch) < self._count_max:
            size += waiting[0].size
            if batch and size > self._bytes_max:
                break
            batch.append(waiting.popleft())
        if batch:
            task = self._loop.create_task(self._run(batch))
            self._under_way[task] = batch
            task.add_done_callback(self._ended)
        self._schedule()

    async def _run(self, batch: Sequence[Asked[I, O]]) -> None:
        await self._ask(batch)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        del self._under_way[task]
        if not task.cancelled():
            task.result()
        self._schedule()

    def close(self, error: RaftlogError, unknown: RaftlogError) -> None:
        """Ask nothing more, and tell whoever waits. Idempotent.

        Args:
            error: What is told of that which was not asked, or was refused; and from now on.
            unknown: What is told of that which was asked, and has no answer.
        """
        self._closed = error
        for task, batch in self._under_way.items():
            task.cancel()
            for each in batch:
                end(each.future, unknown)
        for future, timer in self._resting.items():
            timer.cancel()
            end(future, error)
        self._resting.clear()
        while self._waiting:
            end(self._waiting.popleft().future, error)


def end(future: "asyncio.Future[O]", error: RaftlogError) -> None:
    """Tell whoever waits, if somebody does."""
    if not future.done():
        future.set_exception(error)
        future.exception()  # read, or asyncio complains that nobody did
