"""The event loop of a bench: uvloop where it is installed, and which one it was."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import TypeVar

from raftlog.base.garbage import collect_seldom, keep_what_is_there

T = TypeVar("T")


def loop_name() -> str:
    """Return ``uvloop`` or ``asyncio``, whichever runs now."""
    module = type(asyncio.get_running_loop()).__module__
    return "uvloop" if module.startswith("uvloop") else "asyncio"


def run_on_loop(main: Coroutine[object, object, T]) -> T:
    """Run ``main`` on the fastest loop there is."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if find_spec("uvloop") is not None:
        import uvloop  # noqa: PLC0415  (optional)

        factory = uvloop.new_event_loop
    keep_what_is_there()
    collect_seldom()
    # Whoever ends a run by SIGTERM (a time limit does) leaves no nodes behind either.
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)
    finally:
        signal.signal(signal.SIGTERM, before)
