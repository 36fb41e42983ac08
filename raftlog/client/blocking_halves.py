"""Half messages for threads (``raftlog.sync``)."""

from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any, Self

from raftlog.client import halves as aio_halves
from raftlog.client.blocking import Face, blocking, closing, on_loop
from raftlog.client.checker_threads import InThreads
from raftlog.client.checking import UndecidedMessage, Verdict
from raftlog.client.durations import Duration
from raftlog.client.loop_thread import LoopThread
from raftlog.client.receipts import Receipt


class Half(Face[aio_halves.Half]):
    """A half message: stored, visible to nobody, to be decided once."""

    commit = blocking(aio_halves.Half.commit)
    leave = on_loop(aio_halves.Half.leave)
    _give_up = on_loop(aio_halves.Half.give_up)

    @wraps(aio_halves.Half.rollback)
    def rollback(self, *, timeout: Duration | None = None) -> None:
        """Forget it: nobody will ever see it."""
        # Called in this thread, so that it is noted also if this is interrupted at once.
        self._thread.run(self._inner.rollback(timeout=timeout))

    @wraps(aio_halves.Half.give_up)
    def give_up(self) -> None:
        """Roll back without waiting for the answer; tried as long as the producer lives."""
        self._inner._note_rollback()  # in this thread, as above
        self._give_up()

    @property
    def is_open(self) -> bool:
        """Whether its local work may still go on: nothing was asked for, and it was not left."""
        return self._inner.is_open

    @property
    def is_decided(self) -> bool:
        """Whether it is known here what became of it, or that a checker is to say."""
        return self._inner.is_decided

    @property
    def topic(self) -> str:
        """Its topic."""
        return self._inner.topic

    @property
    def queue(self) -> int:
        """The place of its queue in the topic, from 0."""
        return self._inner.queue

    @property
    def transaction(self) -> str:
        """What it is decided by from elsewhere: ``client.transactions``."""
        return self._inner.transaction

    @property
    def receipt(self) -> Receipt | None:
        """Where it is, once it was committed."""
        return self._inner.receipt


class HalfTransaction:
    """``with`` round the local work: commits at its end, rolls back if it raises."""

    def __init__(self, thread: LoopThread, inner: aio_halves.HalfTransaction) -> None:
        self._thread = thread
        self._inner = inner

    def __enter__(self) -> Half:
        """Store the half message."""
        return Half(self._thread, self._thread.run(self._inner.__aenter__()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit, or roll back and let the error pass."""
        self._thread.run(self._inner.__aexit__(kind, error, trace))


class TransactionalProducer(Face[aio_halves.TransactionalProducer]):
    """A producer of half messages; any thread may use it."""

    close = closing(aio_halves.TransactionalProducer.aclose)
    _half = blocking(aio_halves.TransactionalProducer.half)
    _transaction = on_loop(aio_halves.TransactionalProducer.transaction)
    _begin = blocking(aio_halves.TransactionalProducer.__aenter__)

    @wraps(aio_halves.TransactionalProducer.half)
    def half(self, *args: Any, **kwargs: Any) -> Half:
        """Store one record that nobody sees before it is committed."""
        return Half(self._thread, self._half(*args, **kwargs))

    @wraps(aio_halves.TransactionalProducer.transaction)
    def transaction(self, *args: Any, **kwargs: Any) -> HalfTransaction:
        """Return ``with``: a half message before it, its commit after."""
        return HalfTransaction(self._thread, self._transaction(*args, **kwargs))

    @property
    def status(self) -> aio_halves.HalfStatus:
        """How often it was asked to check, and what hinders it."""
        return self._inner.status

    def __enter__(self) -> Self:
        """Begin under the name, and answer checks from now on."""
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def checking_in_threads(
    checker: Callable[[UndecidedMessage], Verdict] | None,
) -> InThreads | None:
    """Return a checker that blocks no loop."""
    if checker is None:
        return None
    return InThreads(checker)
