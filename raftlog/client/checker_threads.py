"""Checkers that block, each call in a thread of its own, of which a producer has a few.

::

    asked about (7, 58)              a thread is free     the checker is called there
                                     all are taken        waited for one, then no answer: nobody
                                                          was asked, so no check is counted
    it says nothing for 10 s         "unknown", which counts; the call goes on
    asked about (7, 58) once more    the same call is waited for: a second one would hang, too

The threads are this checker's own: one that hangs takes none of the loop's, which others need.
They are daemons: neither closing nor the end of the process waits for them.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from raftlog.client import checking
from raftlog.client.checking import NotAsked, UndecidedMessage, Verdict, nothing_said

CHECKER_THREADS: Final = 16
"""Calls of one producer's checker at once."""

Blocking = Callable[[UndecidedMessage], Verdict]
_Said = tuple[Verdict | None, BaseException | None]
"""What a call has ended with."""


class InThreads:
    """A checker that blocks no loop. Bound to the loop that it is first asked on."""

    def __init__(self, checker: Blocking) -> None:
        self._checker: Final = checker
        self._calls: Final[dict[str, asyncio.Future[_Said]]] = {}
        """Those under way, by transaction."""
        self._free: Final = asyncio.Semaphore(CHECKER_THREADS)

    async def __call__(self, message: UndecidedMessage) -> Verdict:
        """Ask; raises what the checker does.

        Raises:
            NotAsked: No thread was free, or only so late that it had less than its time.
            TimeoutError: It says nothing.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + checking.CHECK_LIMIT_S
        call = self._calls.get(message.transaction)
        has_its_time = call is not None or not self._free.locked()
        if call is None:
            call = await self._begin(message, deadline)
        done, _ = await asyncio.wait({call}, timeout=deadline - loop.time())
        if not done:
            raise nothing_said() if has_its_time else _none_free()
        verdict, error = call.result()
        if error is not None and not isinstance(error, Exception):
            raise RuntimeError(f"the checker has ended its thread: {error!r}") from error
        if error is not None:
            raise error
        return cast("Verdict", verdict)

    async def _begin(self, message: UndecidedMessage, deadline: float) -> "asyncio.Future[_Said]":
        """Call it in a thread, as soon as there is one."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        except TimeoutError:
            raise _none_free() from None
        loop = asyncio.get_running_loop()
        call: asyncio.Future[_Said] = loop.create_future()
        run = contextvars.copy_context().run

        def end(said: _Said) -> None:
            self._free.release()
            if self._calls.get(message.transaction) is call:
                del self._calls[message.transaction]
            call.set_result(said)

        def work() -> None:
            try:
                said: _Said = run(self._checker, message), None
            except BaseException as error:  # noqa: BLE001  (whoever asked is told)
                said = None, error
            with suppress(RuntimeError):  # the loop was closed: nobody wants to know any more
                loop.call_soon_threadsafe(end, said)

        try:
            threading.Thread(target=work, name="raftlog checker", daemon=True).start()
        except RuntimeError as error:  # the process has too many
            self._free.release()
            raise NotAsked(f"no thread for the checker: {error}") from error
        self._calls[message.transaction] = call
        return call


def _none_free() -> NotAsked:
    return NotAsked(f"no thread was free: {CHECKER_THREADS} calls of the checker are under way")
