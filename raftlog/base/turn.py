"""What is to be done when the current event has been handled.

An event loop calls back for each thing that happens: bytes came, a write is
durable. Handling it makes follow-up work that should be done once for all of
the event's parts: commands become one entry, frames become one write. Leaving
that to the loop's next iteration costs an iteration each time, and one request
passes through several. A ``Turn`` does it at the end of the very callback::

    handle(bytes) -> propose, propose, propose
    run()         -> one entry -> frames to two peers, a plan for the writer
                  -> two socket writes, one submit

Outside a callback that runs its turn, work waits for the loop's next iteration.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol
from weakref import WeakKeyDictionary

ROUNDS_MAX: Final = 64
"""Calls in one run; more wait for the next iteration, so that no loop starves."""


class Loop(Protocol):
    """What a turn needs of an event loop."""

    def call_soon(self, callback: Callable[[], object]) -> object:
        """Call ``callback`` in the next iteration."""


class Turn:
    """The follow-up work of one event loop. Used on that loop only."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], object]] = deque()
        self._scheduled = False
        self._running = False

    def defer(self, call: Callable[[], object]) -> None:
        """Make ``call`` at the end of the current event, or in the next iteration."""
        self._calls.append(call)
        if not self._running and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run_scheduled)

    def handle(self, event: Callable[[], object]) -> None:
        """Handle ``event`` and everything that it defers."""
        if self._running:
            event()
            return
        self._running = True
        calls = self._calls
        left = ROUNDS_MAX
        try:
            event()
            while calls and left:
                calls.popleft()()
                left -= 1
        finally:
            self._running = False
            if calls and not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._run_scheduled)

    def _run_scheduled(self) -> None:
        self._scheduled = False
        if not self._running:
            self.handle(_nothing)


def _nothing() -> None:
    """Only the deferred work is left."""


_TURNS: "WeakKeyDictionary[Loop, Turn]" = WeakKeyDictionary()


def turn_of(loop: Loop) -> Turn:
    """Return the one turn of ``loop``."""
    turn = _TURNS.get(loop)
    if turn is None:
        turn = _TURNS[loop] = Turn(loop)
    return turn
