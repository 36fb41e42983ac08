"""Checkers that block, each call in a thread of its own, of which a producer has a few.

::

    asked about (7, 58)              a thread is free     the checker is called there
                                     all are taken        waited for one, then no answer: nobody
                                                          was asked, so no check is counted
    it says nothing for 10 s         "unknown", which counts; the call goes on
    asked about (7, 58) once more    the same call is waited for: a second one would hang, too
       it has ended meanwhile        what it said, or raised, is the answer; if it did not know, or
                                     that is a minute ago, it is called anew

The threads are this checker's own: one that hangs takes none of the loop's, which others need.
They are daemons: neither closing nor the end of the process waits for them.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Final, cast

from raftlog.client import checking
from raftlog.client.checking import NotAsked, UndecidedMessage, Verdict, nothing_said

CHECKER_THREADS: Final = 16
"""Calls of one producer's checker at once."""
KEPT_S: Final = 60.0
"""So long what nobody waited for is kept: the cluster asks again after 30 s."""

Blocking = Callable[[UndecidedMessage], Verdict]
_Said = tuple[Verdict | None, BaseException | None]
"""What a call has ended with."""
_NOTHING: Final[tuple[float, _Said]] = (-inf, (None, None))


class _Call:
    """One call, under way."""

    def __init__(self) -> None:
        self.future: Final[asyncio.Future[_Said]] = asyncio.get_running_loop().create_future()
        self.waiting = 0
        """How many want to know."""


class InThreads:
    """A checker that blocks no loop. Bound to the loop that it is first asked on."""

    def __init__(self, checker: Blocking) -> None:
        self._checker: Final = checker
        self._calls: Final[dict[str, _Call]] = {}
        """Those under way, by transaction."""
        self._kept: Final[dict[str, tuple[float, _Said]]] = {}
        """What was said too late, and until when it counts, by transaction; the oldest first."""
        self._free: Final = asyncio.Semaphore(CHECKER_THREADS)

    async def __call__(self, message: UndecidedMessage) -> Verdict:
        """Ask; raises what the checker does.

        Raises:
            NotAsked: No thread was free, or only so late that it had less than its time.
            TimeoutError: It says nothing.
        """
        until, said = self._kept.pop(message.transaction, _NOTHING)
        if until < asyncio.get_running_loop().time():
            said = await self._ask(message)
        verdict, error = said
        if error is not None and not isinstance(error, Exception):
            raise RuntimeError(f"the checker has ended its thread: {error!r}") from error
        if error is not None:
            raise error
        return cast("Verdict", verdict)

    async def _ask(self, message: UndecidedMessage) -> _Said:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + checking.CHECK_LIMIT_S
        call = self._calls.get(message.transaction)
        has_its_time = call is not None or not self._free.locked()
        if call is None:
            call = await self._begin(message, deadline)
        call.waiting += 1
        try:
            done, _ = await asyncio.wait({call.future}, timeout=deadline - loop.time())
        finally:
            call.waiting -= 1
        if not done:
            raise nothing_said() if has_its_time else _none_free()
        return call.future.result()

    def _keep(self, transaction: str, said: _Said) -> None:
        """Nobody waited any more: it is the answer to the next check, unless it is none."""
        now = asyncio.get_running_loop().time()
        for each, (until, _) in list(self._kept.items()):
            if until >= now:
                break
            del self._kept[each]
        if said[0] is not Verdict.UNKNOWN:
            self._kept[transaction] = (now + KEPT_S, said)

    async def _begin(self, message: UndecidedMessage, deadline: float) -> _Call:
        """Call it in a thread, as soon as there is one."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        except TimeoutError:
            raise _none_free() from None
        loop = asyncio.get_running_loop()
        call = _Call()
        run = contextvars.copy_context().run

        def end(said: _Said) -> None:
            self._free.release()
            if self._calls.get(message.transaction) is call:
                del self._calls[message.transaction]
            call.future.set_result(said)
            if not call.waiting:
                self._keep(message.transaction, said)

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
