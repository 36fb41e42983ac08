"""A loop in a thread of its own, for callers that block: what ``raftlog.sync`` is built on."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from raftlog.base.errors import Closed, WrongLoop

R = TypeVar("R")

LOOK_S = 1.0
"""How often a waiting thread looks for a signal whose wake-up it missed."""


class LoopThread:
    """A loop in a thread of its own. Begins with the first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self.is_closed = False

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Run ``work`` on the loop and wait for it. Interrupted, it is cancelled.

        Raises:
            Closed: The client was closed, before or meanwhile.
            WrongLoop: This is a forked process, or the loop's own thread.
        """
        future: concurrent.futures.Future[R] | None = None
        try:
            self._check()
            with self._lock:  # so that nothing comes to a loop that was stopped
                future = asyncio.run_coroutine_threadsafe(work, self._started())
            return _result(future)
        except concurrent.futures.CancelledError:  # by close(): nobody else can
            raise Closed("the client was closed") from None
        except BaseException:  # also one that comes before it is waited for
            if future is None:
                work.close()
            else:
                future.cancel()
            raise

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is a forked process: the thread stayed in the other one."""
        return os.getpid() != self._process

    def _check(self) -> None:
        if self.is_elsewhere:  # before the lock: it may be held for ever here
            raise WrongLoop(
                "this client was made before the process was forked, and its thread is not "
                "here; make a client in each process"
            )
        if threading.current_thread() is self._thread:
            raise WrongLoop(
                "a blocking call in the client's own thread (a callback of a future of post) "
                "would wait for itself; call it from another thread"
            )

    def _started(self) -> asyncio.AbstractEventLoop:
        if self.is_closed:
            raise Closed("the client was closed")
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="raftlog", daemon=True
            )
            self._thread.start()
        return self._loop

    def close(self) -> None:
        """End the thread; whoever still waits is told. Idempotent."""
        with self._lock:
            self.is_closed = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            try:
                _result(asyncio.run_coroutine_threadsafe(_end_all(), loop))
            finally:
                loop.call_soon_threadsafe(loop.stop)
                thread.join()
                loop.close()


def _result(future: concurrent.futures.Future[R]) -> R:
    """What came of it, waited for in steps.

    A signal (ctrl-C) that comes between the interpreter's last look for one and the lock on
    which the thread then sleeps wakes nobody: its handler, which runs in this thread, would wait
    for the end of a call that may never end.
    """
    while not future.done():
        with contextlib.suppress(TimeoutError):  # the work's own is raised below
            return future.result(LOOK_S)
    return future.result()


async def _end_all() -> None:
    """End what other threads wait for still."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
