"""The event loop of a bench: uvloop where it is installed, and which one it was."""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import TypeVar

T = TypeVar("T")

COLLECT_AFTER = 50_000
"""Allocations between two looks of the garbage collector, as in a node (``server.lifecycle``):
a load generator holds many futures and makes no cycles."""


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
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 50)
    # Whoever ends a run by SIGTERM (a time limit does) leaves no nodes behind either.
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main)
    finally:
        signal.signal(signal.SIGTERM, before)
