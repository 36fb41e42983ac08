"""Waiting for a task that others wait for too."""

import asyncio
from typing import TypeVar

from raftlog.base.errors import Closed

T = TypeVar("T")


async def result_of(task: "asyncio.Task[T]") -> T:
    """Wait for ``task``; cancelling one who waits disturbs nobody else.

    Raises:
        Closed: Its owner has ended it; whoever waits was not cancelled by anybody.
    """
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        own = asyncio.current_task()
        if task.cancelled() and own is not None and not own.cancelling():
            raise Closed("the client was closed") from None
        raise
