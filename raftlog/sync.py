"""The SDK for threads: the same names as ``raftlog.Client``, without ``await``.

::

    from raftlog.sync import Client

    with Client("127.0.0.1:7201") as client, client.consumer("billing", ["orders"]) as consumer:
        client.send("orders", b"v", key=b"k")
        for message in consumer:
            ...

A client has a loop in a thread of its own, and may be used from any thread
(a consumer or reader from one at a time). Every call blocks until there is a
result; Ctrl-C ends the wait, which is a cancellation of the call. ``aclose`` is
``close`` here, ``post`` returns a ``concurrent.futures.Future``; all else is
what the method of the same name says in ``raftlog.client``.
"""

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import wraps
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from raftlog.base.errors import Closed, Fenced, OffsetGoesBack, RaftlogError, UnknownMember
from raftlog.client import atomic as aio_atomic
from raftlog.client import client as aio
from raftlog.client import consumer as aio_consumer
from raftlog.client import messages as aio_messages
from raftlog.client import producer as aio_producer
from raftlog.client import reader as aio_reader
from raftlog.client.blocking import Face as _Face
from raftlog.client.blocking import blocking as _blocking
from raftlog.client.blocking import closing as _closing
from raftlog.client.blocking import on_loop as _on_loop
from raftlog.client.blocking_admin import (
    DelayedMessages,
    Groups,
    Members,
    Quotas,
    Topics,
    Transactions,
)
from raftlog.client.blocking_atomic import AtomicTransaction
from raftlog.client.blocking_halves import TransactionalProducer, checking_in_threads
from raftlog.client.blocking_queues import DeadLetters, QueueConsumer, QueueGroups
from raftlog.client.blocking_walks import MessageHistory, Search
from raftlog.client.durations import Duration
from raftlog.client.given import Given
from raftlog.client.loop_thread import LoopThread
from raftlog.client.producer_status import ProducerStatus
from raftlog.client.receipts import Message, Receipt, StoredBatch

R = TypeVar("R")
CHUNK: Final = 100
"""Messages that cross from the loop's thread at once."""
IDLE_S: Final = 1.0


class Messages(_Face[aio_messages.Messages]):
    """The messages of a cluster."""

    trace = _blocking(aio_messages.Messages.trace)
    trace_hidden = _blocking(aio_messages.Messages.trace_hidden)
    _search = _on_loop(aio_messages.Messages.search)
    _history = _on_loop(aio_messages.Messages.history)

    @wraps(aio_messages.Messages.search)
    def search(self, topic: str, **options: Any) -> Search:
        """Look for records; ``on_progress`` is called on the client's own thread."""
        return Search(self._thread, self._search(topic, **options))

    @wraps(aio_messages.Messages.history)
    def history(self, topic: str, queue: int, offset: int, **options: Any) -> MessageHistory:
        """Look for what the log says about a message."""
        return MessageHistory(self._thread, self._history(topic, queue, offset, **options))


class Producer(_Face[aio_producer.Producer]):
    """A producer; any thread may send. Each thread's records stay in order."""

    send = _blocking(aio_producer.Producer.send)
    send_batch = _blocking(aio_producer.Producer.send_batch)
    send_later = _blocking(aio_producer.Producer.send_later)
    oneway = _on_loop(aio_producer.Producer.oneway)
    ready = _blocking(aio_producer.Producer.ready)
    flush = _blocking(aio_producer.Producer.flush)
    resolve = _blocking(aio_producer.Producer.resolve)
    close = _closing(aio_producer.Producer.aclose)

    @wraps(aio_producer.Producer.post)
    def post(self, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Receipt]:
        """Send without waiting; the future is a thread's."""

        async def work() -> concurrent.futures.Future[Receipt]:
            return _for_threads(self._inner.post(*args, **kwargs))

        return self._thread.run(work())

    @property
    def status(self) -> ProducerStatus:
        """What it holds, and what hinders it."""
        return self._inner.status

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Flush and close; without flushing if this is an interruption."""
        self.close(flush=kind is None or issubclass(kind, Exception))


class Reader(_Face[aio_reader.Reader]):
    """A reader; for one thread at a time."""

    def __init__(self, thread: LoopThread, inner: aio_reader.Reader) -> None:
        super().__init__(thread, inner)
        self._chunk: deque[Message] = deque()

    close = _closing(aio_reader.Reader.aclose)

    def __iter__(self) -> Self:
        """Iterate over messages."""
        return self

    def __next__(self) -> Message:
        """Return the next message; see the asynchronous ``__anext__``."""
        if not self._chunk:
            self._thread.run(self._fill())
        if not self._chunk:
            raise StopIteration
        return self._chunk.popleft()

    async def _fill(self) -> None:
        """Fill the chunk, on the loop: what came to an interrupted wait is there for the next."""
        with suppress(StopAsyncIteration):
            self._chunk.append(await anext(self._inner))
            with suppress(RaftlogError):  # the next one who asks is told
                self._chunk.extend(await self._inner.poll(CHUNK - 1, timeout=0))

    def poll(self, count: int = 100, *, timeout: Duration = 1.0) -> list[Message]:
        """Return up to ``count`` messages; [] if none came within ``timeout`` seconds."""

        async def fill() -> None:
            self._chunk.extend(await self._inner.poll(count, timeout=timeout))

        if not self._chunk:
            self._thread.run(fill())
        return [self._chunk.popleft() for _ in range(min(count, len(self._chunk)))]

    def batches(self) -> Iterator[StoredBatch]:
        """Yield the stored batches: no object for each record."""
        batches = self._inner.batches()

        async def more() -> StoredBatch | None:
            return await anext(batches, None)

        while (batch := self._thread.run(more())) is not None:
            yield batch

    @property
    def status(self) -> aio_reader.ReaderStatus:
        """How far it is; up to 100 messages may be on their way to the iteration."""
        return self._inner.status

    def __enter__(self) -> Self:
        """Find the start."""

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
        """Close."""
        self.close()


class Consumer(_Face[aio_consumer.Consumer]):
    """A member of a group; for one thread at a time.

    Messages cross from the loop's thread by the hundred. What this thread has not
    been given counts neither as handed out nor as finished.
    """

    def __init__(
        self, thread: LoopThread, inner: aio_consumer.Consumer, *, auto_commit: bool
    ) -> None:
        super().__init__(thread, inner)
        self._auto_commit = auto_commit
        self._given: Final = Given()
        self._is_closed = False

    def __iter__(self) -> Self:
        """Iterate over messages."""
        return self

    def __next__(self) -> Message:
        """Return the next message; what was handed out before is finished."""
        self._given.finish()
        while not self._given.waiting:
            if self._is_closed:
                raise StopIteration
            self._refill(CHUNK, IDLE_S)
        return self._given.next()

    def _refill(self, count: int, timeout: Duration) -> None:
        if self._auto_commit:
            self._given.finished.clear()  # the next poll says so of all of them
        self._thread.run(self._fill(count, timeout))

    async def _fill(self, count: int, timeout: Duration) -> None:
        """Fill the chunk, on the loop: what came to an interrupted wait is there for the next."""
        self._given.waiting.extend(await self._inner.poll(count, timeout=timeout))

    def poll(self, count: int = 100, *, timeout: Duration = 1.0) -> list[Message]:
        """Return up to ``count`` messages; [] if none came within ``timeout`` seconds."""
        self._given.finish()
        if not self._given.waiting:
            self._refill(count, timeout)
        return self._given.take(count)

    def commit(self, message: Message | None = None) -> None:
        """Commit everything that was handed out; or, of a queue, up to ``message``."""
        if message is not None:
            self._commit(message)
            return
        refused: RaftlogError | None = None
        if self._auto_commit:  # else all of it is still here
            refused = self._thread.run(aio_consumer.commit_finished(self._inner))
        for each in self._given.last():
            try:
                self._commit(each)
            except (Fenced, UnknownMember) as error:  # the others are committed all the same
                self._given.refused(each)
                refused = refused or error
        if refused is not None:
            raise refused
        self._thread.run(aio_consumer.tell_lost(self._inner))

    def _commit(self, message: Message) -> None:
        self._thread.run(self._inner.commit(message))
        self._given.committed({(message.topic, message.queue): message.offset + 1})

    def events(self) -> Iterator[aio_consumer.Event]:
        """Yield what happens from now on; take them in a thread of their own."""
        events = self._inner.events()

        async def more() -> aio_consumer.Event | None:
            return await anext(events, None)

        while (event := self._thread.run(more())) is not None:
            yield event

    @property
    def status(self) -> aio_consumer.ConsumerStatus:
        """What it reads, and what hinders it."""
        return self._inner.status

    def close(self) -> None:
        """Commit what is finished (with ``auto_commit``), leave the group, close."""
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(Closed):  # with its client
            self._thread.run(self._leave())

    async def _leave(self) -> None:
        if self._auto_commit:
            for message in self._given.finished.values():
                try:
                    await self._inner.commit(message)
                except (Fenced, UnknownMember, OffsetGoesBack):
                    continue  # it is handed out again, to somebody else; the others are not
                except RaftlogError:
                    break
        await self._inner.aclose()

    def __enter__(self) -> Self:
        """Join, and wait for the first assignment."""

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
        """Commit what is finished, leave, close."""
        self.close()


class Client(_Face[aio.Client]):
    """A client of one cluster, for threads: see ``raftlog.Client``.

    A client that is not closed keeps its thread until the program ends.
    """

    def __init__(
        self,
        seeds: str | Sequence[str],
        *,
        timeout: Duration = 30.0,
        cluster: str = "",
        client_id: str = "",
    ) -> None:
        inner = aio.Client(seeds, timeout=timeout, cluster=cluster, client_id=client_id)
        super().__init__(LoopThread(), inner)

    health = _blocking(aio.Client.health)
    status = _blocking(aio.Client.status)
    transfer_leader = _blocking(aio.Client.transfer_leader)
    send = _blocking(aio.Client.send)
    send_batch = _blocking(aio.Client.send_batch)
    send_later = _blocking(aio.Client.send_later)
    resolve = _blocking(aio.Client.resolve)
    _producer = _on_loop(aio.Client.producer)
    _transactional_producer = _on_loop(aio.Client.transactional_producer)
    _consumer = _on_loop(aio.Client.consumer)
    _queue_consumer = _on_loop(aio.Client.queue_consumer)
    _reader = _on_loop(aio.Client.reader)

    @property
    def topics(self) -> Topics:
        """Create, alter, delete, list and describe topics."""
        return Topics(self._thread, self._inner._topics)

    @property
    def queue_groups(self) -> QueueGroups:
        """Open, describe and list queue-style groups, and decide about what is blocked."""
        return QueueGroups(self._thread, self._inner._queue_groups)

    @property
    def dead_letters(self) -> DeadLetters:
        """List dead letters of queue-style groups, and send them again."""
        return DeadLetters(self._thread, self._inner._dead_letters)

    @property
    def delayed(self) -> DelayedMessages:
        """List and cancel messages that are not visible yet."""
        return DelayedMessages(self._thread, self._inner._delayed)

    @property
    def members(self) -> Members:
        """See, add, promote, demote and remove nodes of the cluster."""
        return Members(self._thread, self._inner._members)

    @property
    def quotas(self) -> Quotas:
        """Set, remove and list quotas of clients and topics."""
        return Quotas(self._thread, self._inner._quotas)

    @property
    def messages(self) -> Messages:
        """Search for single messages, and trace one."""
        return Messages(self._thread, self._inner._messages)

    @property
    def groups(self) -> Groups:
        """List, describe, seek and delete consumer groups."""
        return Groups(self._thread, self._inner._groups)

    @wraps(aio.Client.producer)
    def producer(self, **options: Any) -> Producer:
        """Return a producer of its own name."""
        return Producer(self._thread, self._producer(**options))

    @property
    def transactions(self) -> Transactions:
        """List half messages that nobody decided, and decide them by hand."""
        return Transactions(self._thread, self._inner._transactions)

    @wraps(aio.Client.transactional_producer)
    def transactional_producer(self, name: str, **options: Any) -> TransactionalProducer:
        """Return a producer of half messages; its checker runs in threads of its own."""
        options["checker"] = checking_in_threads(options.get("checker"))
        return TransactionalProducer(self._thread, self._transactional_producer(name, **options))

    @wraps(aio.Client.atomic)
    def atomic(self, **options: Any) -> AtomicTransaction:
        """Return ``with``: what it sends, commits and acknowledges happens as one."""

        async def make() -> aio_atomic.AtomicTransaction:
            return self._inner.atomic(**options)

        return AtomicTransaction(self._thread, self._thread.run(make()))

    @wraps(aio.Client.consumer)
    def consumer(self, group: str, topics: str | Sequence[str], **options: Any) -> Consumer:
        """Return a member of a consumer group."""
        inner = self._consumer(group, topics, **options)
        return Consumer(self._thread, inner, auto_commit=options.get("auto_commit", True))

    @wraps(aio.Client.queue_consumer)
    def queue_consumer(
        self, group: str, topics: str | Sequence[str] = (), **options: Any
    ) -> QueueConsumer:
        """Return a consumer of a queue-style group."""
        return QueueConsumer(self._thread, self._queue_consumer(group, topics, **options))

    @wraps(aio.Client.reader)
    def reader(self, topic: str, **options: Any) -> Reader:
        """Return a reader of a topic."""
        return Reader(self._thread, self._reader(topic, **options))

    def close(self) -> None:
        """Close, with all producers, consumers and readers, and end the thread. Idempotent."""
        if self._thread.is_closed or self._thread.is_elsewhere:
            return
        try:
            self._thread.run(self._inner.aclose())
        finally:
            self._thread.close()

    def __enter__(self) -> Self:
        """Begin; nothing is connected before it is needed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def _for_threads(future: "asyncio.Future[R]") -> "concurrent.futures.Future[R]":
    """Return a future that threads may wait for."""
    outer: concurrent.futures.Future[R] = concurrent.futures.Future()
    outer.set_running_or_notify_cancel()

    def copy(done: "asyncio.Future[R]") -> None:
        if done.cancelled():
            outer.set_exception(Closed("the send was cancelled"))
        elif (error := done.exception()) is not None:
            outer.set_exception(error)
        else:
            outer.set_result(done.result())

    future.add_done_callback(copy)
    return outer
