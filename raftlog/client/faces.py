"""Blocking faces: the names of an asynchronous object, for threads (``raftlog.sync``)."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar

from raftlog.client import groups as aio_groups
from raftlog.client import later as aio_later
from raftlog.client import members as aio_members
from raftlog.client import quotas as aio_quotas
from raftlog.client import topics as aio_topics
from raftlog.client import transactions as aio_transactions
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


class Topics(Face[aio_topics.Topics]):
    """The topics of a cluster."""

    create = blocking(aio_topics.Topics.create)
    alter = blocking(aio_topics.Topics.alter)
    delete = blocking(aio_topics.Topics.delete)
    describe = blocking(aio_topics.Topics.describe)
    offsets = blocking(aio_topics.Topics.offsets)
    list = blocking(aio_topics.Topics.list)


class Groups(Face[aio_groups.Groups]):
    """The consumer groups of a cluster."""

    list = blocking(aio_groups.Groups.list)
    describe = blocking(aio_groups.Groups.describe)
    subscribe = blocking(aio_groups.Groups.subscribe)
    seek = blocking(aio_groups.Groups.seek)
    delete = blocking(aio_groups.Groups.delete)


class DelayedMessages(Face[aio_later.DelayedMessages]):
    """The delayed messages of a cluster."""

    cancel = blocking(aio_later.DelayedMessages.cancel)
    list = blocking(aio_later.DelayedMessages.list)


class Quotas(Face[aio_quotas.Quotas]):
    """The quotas of a cluster."""

    set = blocking(aio_quotas.Quotas.set)
    remove = blocking(aio_quotas.Quotas.remove)
    list = blocking(aio_quotas.Quotas.list)


class Transactions(Face[aio_transactions.Transactions]):
    """The open half messages of a cluster."""

    list = blocking(aio_transactions.Transactions.list)
    commit = blocking(aio_transactions.Transactions.commit)
    rollback = blocking(aio_transactions.Transactions.rollback)


class Members(Face[aio_members.Members]):
    """The nodes of a cluster."""

    list = blocking(aio_members.Members.list)
    add = blocking(aio_members.Members.add)
    promote = blocking(aio_members.Members.promote)
    demote = blocking(aio_members.Members.demote)
    remove = blocking(aio_members.Members.remove)
    prefer = blocking(aio_members.Members.prefer)
