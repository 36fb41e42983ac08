"""Queue-style groups for threads: the blocking faces of the consumer and its messages."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from raftlog.client import dead_letters as aio_letters
from raftlog.client import queue_consumer as aio
from raftlog.client import queue_groups as aio_groups
from raftlog.client import queue_message as aio_message
from raftlog.client.blocking import Face, blocking, closing
from raftlog.client.durations import Duration
from raftlog.client.error_texts import named_text_of
from raftlog.client.loop_thread import LoopThread
from raftlog.client.receipts import Message
from raftlog.wire.batch import Headers


class QueueGroups(Face[aio_groups.QueueGroups]):
    """The queue-style groups of a cluster."""

    open = blocking(aio_groups.QueueGroups.open)
    subscribe = blocking(aio_groups.QueueGroups.subscribe)
    seek = blocking(aio_groups.QueueGroups.seek)
    describe = blocking(aio_groups.QueueGroups.describe)
    list = blocking(aio_groups.QueueGroups.list)
    in_flight = blocking(aio_groups.QueueGroups.in_flight)
    decide = blocking(aio_groups.QueueGroups.decide)


class DeadLetters(Face[aio_letters.DeadLetters]):
    """The dead letters of a cluster's queue-style groups."""

    list = blocking(aio_letters.DeadLetters.list)
    resend = blocking(aio_letters.DeadLetters.resend)


class QueueMessage(Face[aio_message.QueueMessage]):
    """A message, leased; for one thread at a time."""

    ack = blocking(aio_message.QueueMessage.ack)
    nack = blocking(aio_message.QueueMessage.nack)
    reject = blocking(aio_message.QueueMessage.reject)
    release = blocking(aio_message.QueueMessage.release)
    extend = blocking(aio_message.QueueMessage.extend)

    @property
    def message(self) -> Message:
        """The record as any reader gets it."""
        return self._inner.message

    @property
    def topic(self) -> str:
        """Its topic."""
        return self._inner.topic

    @property
    def queue(self) -> int:
        """The place of its queue in the topic, from 0."""
        return self._inner.queue

    @property
    def offset(self) -> int:
        """Its position in the queue."""
        return self._inner.offset

    @property
    def timestamp_ms(self) -> int:
        """Milliseconds since 1970: the sender's time, unless it said another."""
        return self._inner.timestamp_ms

    @property
    def key(self) -> bytes | None:
        """Its key, or None."""
        return self._inner.key

    @property
    def value(self) -> bytes | None:
        """Its value, or None."""
        return self._inner.value

    @property
    def headers(self) -> Headers:
        """Pairs of name and value."""
        return self._inner.headers

    @property
    def tag(self) -> str | None:
        """Its tag, or None."""
        return self._inner.tag

    @property
    def attempts(self) -> int:
        """How often it was leased, this time included."""
        return self._inner.attempts

    @property
    def is_settled(self) -> bool:
        """Whether it was settled."""
        return self._inner.is_settled

    def __repr__(self) -> str:
        """Show where it is, not what is in it."""
        return repr(self._inner)

    def process(self, *, limit: Duration | None = None) -> "Processing":
        """Handle it in ``with``: its lease is kept, and at the end it is settled."""
        return Processing(self, self._inner.process(limit=limit))


class Processing:
    """A handler at work, in a thread."""

    def __init__(self, message: QueueMessage, inner: aio_message.Processing) -> None:
        self._message = message
        self._inner = inner

    def __enter__(self) -> QueueMessage:
        """Begin."""

        async def enter() -> None:
            await self._inner.__aenter__()

        self._message._thread.run(enter())
        return self._message

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Settle the message, if the handler has not."""
        return self._message._thread.run(self._inner.__aexit__(kind, error, trace))


class QueueConsumer(Face[aio.QueueConsumer]):
    """A consumer of a queue-style group; any thread may receive."""

    close = closing(aio.QueueConsumer.aclose)

    def __init__(self, thread: LoopThread, inner: aio.QueueConsumer) -> None:
        super().__init__(thread, inner)

    def receive(self, count: int = 1, *, wait: Duration | None = None) -> list[QueueMessage]:
        """Return up to ``count`` messages, leased to this consumer."""
        found = self._thread.run(self._inner.receive(count, wait=wait))
        return [QueueMessage(self._thread, each) for each in found]

    def run(self, handler: Callable[[QueueMessage], None], *, concurrency: int = 8) -> None:
        """Give messages to ``handler``, in ``concurrency`` threads, until it is closed.

        A handler that is interrupted goes on in its thread, and its message is released.
        """
        aio.check_concurrency(concurrency)
        with ThreadPoolExecutor(concurrency, "raftlog-handler") as pool:

            async def handle(message: aio_message.QueueMessage) -> None:
                face = QueueMessage(self._thread, message)
                loop = asyncio.get_running_loop()
                error = await loop.run_in_executor(pool, _outcome, handler, face)
                if error is not None:
                    raise error

            self._thread.run(self._inner.run(handle, concurrency=concurrency))

    @property
    def status(self) -> aio.QueueConsumerStatus:
        """What it does, and what hinders it."""
        return self._inner.status

    def __enter__(self) -> Self:
        """Make the group, or agree with it."""

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
        """Give back what is not settled; close."""
        self.close()


def _outcome(handler: Callable[[QueueMessage], None], message: QueueMessage) -> Exception | None:
    """Call a handler in its thread; return what it has failed with.

    No future takes a ``StopIteration``: whoever waits for it would wait for ever. And what is to
    end a thread (``SystemExit``) would end the loop's, where it is raised again.
    """
    try:
        handler(message)
    except BaseException as error:  # noqa: BLE001  (told on the loop)
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            return error
        failure = RuntimeError(f"the handler has raised {named_text_of(error)}")
        failure.__cause__ = error
        return failure
    return None
