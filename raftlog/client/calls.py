"""Calls that wait until their object is closed: then whoever waits is told, and nobody cancelled.

::

    receive() --> work, a task of ours --> its result
    closing   --> the task is cancelled --> receive() raises Closed
              --> closed, once every call has ended

The task of the one who calls is never touched: whoever is cancelled by it would stay marked as
cancelled (``Task.cancelling``), and its own cancellation in the same turn could not be told apart.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from raftlog.base.errors import Closed

T = TypeVar("T")


class Calls:
    """The calls of one object. Bound to its loop.

    Args:
        why: What is told to those who wait when it is closed.
    """

    def __init__(self, why: str) -> None:
        self._why: Final = why
        self._loop: Final = asyncio.get_running_loop()
        self.closing: Final[asyncio.Future[None]] = self._loop.create_future()
        """Ends with ``close``."""
        self._under_way: Final[set[asyncio.Future[None]]] = set()

    @property
    def is_closed(self) -> bool:
        """Whether nobody is to call any more."""
        return self.closing.done()

    def check(self) -> None:
        """Refuse a call after closing.

        Raises:
            Closed: It was closed.
        """
        if self.is_closed:
            raise Closed(self._why)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Let ``ended`` wait for a call."""
        ended: asyncio.Future[None] = self._loop.create_future()
        self._under_way.add(ended)
        try:
            yield
        finally:
            self._under_way.discard(ended)
            ended.set_result(None)

    async def until_closed(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` does; raises what it does.

        Raises:
            Closed: It was closed meanwhile; what ``work`` has done is not told.

        Cancelled, so is ``work``; so it is by closing.
        """
        task = self._loop.create_task(work)
        task.add_done_callback(_read)
        ends: tuple[asyncio.Future[Any], ...] = (task, self.closing)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()  # if it has not ended
        self.check()
        return task.result()

    def close(self) -> None:
        """Let go whoever waits. Idempotent."""
        if not self.is_closed:
            self.closing.set_result(None)

    async def ended(self) -> None:
        """Wait until every call has ended; whoever made one may go on."""
        if self._under_way:  # whoever is cancelled here ends none of them
            await asyncio.wait([*self._under_way])


def _read(task: "asyncio.Task[Any]") -> None:
    """Asyncio complains of errors that nobody reads."""
    if not task.cancelled():
        task.exception()
