"""Simulated code touches nothing real: clock, random numbers, sockets, threads, files.

One look at the real clock and a seed is a story that can't be told twice. The
digest shows that something differed; the guard shows what, where and at once.
``from time import monotonic`` makes a name of its own, so the names in every
loaded module and class of ours are guarded too, not only those of the standard library.

What it can't see: calls from C (``datetime.now``, ``random.Random()`` without
a seed), which the digest in another process is for.
"""

import builtins
import io
import linecache
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Final

_OURS: Final = ("raftlog.", "chaos.")
_REAL: Final[dict[ModuleType, tuple[str, ...]]] = {
    time: (
        *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"),
        *("process_time", "clock_gettime", "clock_gettime_ns", "sleep", "localtime", "gmtime"),
    ),
    random: (
        *("random", "randint", "randrange", "choice", "choices", "sample", "shuffle"),
        *("uniform", "getrandbits", "randbytes", "expovariate", "seed"),
    ),
    os: (
        *("urandom", "open", "read", "write", "pread", "pwrite", "pwritev", "preadv"),
        *("fsync", "fdatasync", "ftruncate", "rename", "replace", "unlink", "remove"),
        *("listdir", "scandir", "stat", "lstat", "mkdir", "makedirs", "fork", "kill", "getpid"),
    ),
    socket: ("socket", "socketpair", "create_connection", "getaddrinfo"),
    subprocess: ("Popen", "run"),
    builtins: ("open", "input"),
    io: ("open",),
}


Place = tuple[object, str, object]
"""Owner, name, and the real thing that is there."""

_found: tuple[int, list[Place]] = 0, []
"""How many modules were loaded when it was looked last, and the places."""


class TouchedTheRealWorld(BaseException):
    """Simulated code did. No ``Exception``: a handler of the product must not swallow it."""


@contextmanager
def guarded() -> Iterator[None]:
    """Raise ``TouchedTheRealWorld`` in whoever reaches for the real world meanwhile."""
    places = _places()
    for module, name, real in places:
        setattr(module, name, _refusal(real))
    start = threading.Thread.start
    threading.Thread.start = _refusal(start)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        for module, name, real in places:
            setattr(module, name, real)
        threading.Thread.start = start  # type: ignore[method-assign]


def _places() -> list[Place]:
    """Return where something real can be reached.

    A seed would spend a tenth of its time looking, so it is looked again only when a module was
    loaded, or what was found is not there any more.
    """
    global _found  # noqa: PLW0603  (what was found in this process)
    loaded, places = _found
    if loaded != len(sys.modules) or not all(
        vars(owner).get(name) is real for owner, name, real in places
    ):
        places = _look()
        _found = len(sys.modules), places
    return places


def _look() -> list[Place]:
    reals: list[Place] = [
        (module, name, getattr(module, name)) for module, names in _REAL.items() for name in names
    ]
    guarded_ids = {id(real) for _, _, real in reals}
    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith(_OURS) and name != __name__
    ]
    classes = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__
    ]
    return reals + [
        (owner, name, value)
        for owner in (*modules, *classes)
        for name, value in vars(owner).items()
        if id(_unwrapped(value)) in guarded_ids
    ]


def _unwrapped(value: object) -> object:
    """Return what a static method or a call with some arguments given comes down to."""
    value = getattr(value, "__func__", value)
    return value.func if isinstance(value, partial) else value


def _refusal(real: object) -> Callable[..., object]:
    what = getattr(real, "__qualname__", repr(real))

    @staticmethod  # type: ignore[misc]  # it is put into modules and into classes
    def refuse(*args: object, **named: object) -> object:
        # Whoever words a traceback looks for the source's lines. Refused that, what the product
        # raised would be lost, and the guard be blamed.
        if callable(real) and sys._getframe(1).f_globals.get("__name__") == linecache.__name__:
            return real(*args, **named)
        raise TouchedTheRealWorld(f"simulated code called {what}")

    return refuse
