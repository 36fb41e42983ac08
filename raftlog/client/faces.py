"""The blocking face of what lives on the loop of a thread: what ``raftlog.sync`` is made of."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar

from raftlog.client.loop_thread import LoopThread

A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")


class Face(Generic[A]):
    """The blocking face of an object that lives on the thread's loop."""

    def __init__(self, thread: LoopThread, inner: A) -> None:
        self.thread = thread
        self.inner = inner


def blocking(
    method: Callable[Concatenate[A, P], Awaitable[R]],
) -> Callable[Concatenate[Face[A], P], R]:
    """Return ``method``, waiting for its result."""

    @wraps(method)
    def call(face: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        async def work() -> R:
            return await method(face.inner, *args, **kwargs)

        return face.thread.run(work())

    return call


def on_loop(
    method: Callable[Concatenate[A, P], R],
) -> Callable[Concatenate[Face[A], P], R]:
    """Return ``method``, which awaits nothing, called on the loop."""

    @wraps(method)
    def call(face: Face[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        async def work() -> R:
            return method(face.inner, *args, **kwargs)

        return face.thread.run(work())

    return call
