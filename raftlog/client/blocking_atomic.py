"""Atomic transactions for threads (``raftlog.sync``)."""

from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

from raftlog.client import atomic as aio
from raftlog.client.blocking import Face, on_loop
from raftlog.client.blocking_queues import QueueMessage
from raftlog.client.consumer import Consumer as AioConsumer
from raftlog.client.given import Given
from raftlog.client.loop_thread import LoopThread
from raftlog.client.receipts import Message, Receipt


class ConsumerFace(Protocol):
    """A stream-style consumer for threads, which holds messages that its thread has not got."""

    _inner: AioConsumer

    @property
    def _given(self) -> Given:
        """What its thread was given."""


class AtomicTransaction(Face[aio.AtomicTransaction]):
    """Sends, offsets and acknowledgements of one ``with`` block; for one thread at a time."""

    def __init__(self, thread: LoopThread, inner: aio.AtomicTransaction) -> None:
        super().__init__(thread, inner)
        self._consumers: list[ConsumerFace] = []

    send = on_loop(aio.AtomicTransaction.send)
    _commit_offsets = on_loop(aio.AtomicTransaction.commit_offsets)
    _commit_handed = on_loop(aio.AtomicTransaction._commit_handed)
    _ack = on_loop(aio.AtomicTransaction.ack)

    def commit_offsets(
        self, consumer: ConsumerFace, upto: Message | Iterable[Message] | None = None
    ) -> None:
        """Finish messages of a stream-style consumer: they, and what came before them."""
        if consumer not in self._consumers:
            self._consumers.append(consumer)
        if upto is None:
            self._commit_handed(consumer._inner, consumer._given.to_finish())
        else:
            self._commit_offsets(consumer._inner, upto)

    def ack(self, message: QueueMessage) -> None:
        """Acknowledge a message of a queue-style group at the end of the block."""
        self._ack(message._inner)

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        """Where the records are, in the order of the sends; () before the commit."""
        return self._inner.receipts

    def __enter__(self) -> Self:
        """Begin; nothing is asked before the end."""

        async def enter() -> None:
            await self._inner.__aenter__()

        self._thread.run(enter())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit, if the block has ended well."""
        try:
            self._thread.run(self._inner.__aexit__(kind, error, trace))
        finally:
            for consumer in self._consumers:
                consumer._given.committed(self._inner._committed_of(consumer._inner))
                consumer._given.went_back(self._inner._places_again(consumer._inner))
