"""Blocking faces of what lives on a loop: how ``raftlog.sync`` is made of ``raftlog.client``."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar

from raftlog.base.errors import Closed
from raftlog.client.loop_thread import LoopThread

A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")


class Face(Generic[A]):
    """The blocking face of an object that lives on the thread's loop."""

    def __init__(self, thread: LoopThread, inner: A) -> None:
        self._thread = thread
        self._inner = inner


def blocking(
    method: Callable[Concatenate[A, P], Awaitable[R]],
) -> Callable[Concatenate[Face[A], P], R]:
    """Return ``method``, waiting for its result."""

    @wraps(method)
    def call(face: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        async def work() -> R:
            return await method(face._inner, *args, **kwargs)

        return face._thread.run(work())

    return call


def closing(
    method: Callable[Concatenate[A, P], Awaitable[None]],
) -> Callable[Concatenate[Face[A], P], None]:
    """Return ``method``, which closes, waiting for it; harmless after the client was closed."""
    close = blocking(method)

    @wraps(method)
    def call(face: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> None:
        with suppress(Closed):
            close(face, *args, **kwargs)

    return call


def on_loop(
    method: Callable[Concatenate[A, P], R],
) -> Callable[Concatenate[Face[A], P], R]:
    """Return ``method``, which awaits nothing, called on the loop."""

    @wraps(method)
    def call(face: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        async def work() -> R:
            return method(face._inner, *args, **kwargs)

        return face._thread.run(work())

    return call
