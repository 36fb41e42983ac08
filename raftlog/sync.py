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

from raftlog.base.errors import Closed, RaftlogError
from raftlog.client import client as aio
from raftlog.client import consumer as aio_consumer
from raftlog.client import groups as aio_groups
from raftlog.client import later as aio_later
from raftlog.client import members as aio_members
from raftlog.client import producer as aio_producer
from raftlog.client import quotas as aio_quotas
from raftlog.client import reader as aio_reader
from raftlog.client import topics as aio_topics
from raftlog.client.blocking_queues import QueueConsumer, QueueGroups
from raftlog.client.blocking_queues import QueueMessage as QueueMessage
from raftlog.client.durations import Duration
from raftlog.client.faces import Face, blocking, on_loop
from raftlog.client.loop_thread import LoopThread
from raftlog.client.producer_status import ProducerStatus
from raftlog.client.receipts import Message, Receipt, StoredBatch

R = TypeVar("R")
CHUNK: Final = 100
"""Messages that cross from the loop's thread at once."""
IDLE_S: Final = 1.0


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


class Members(Face[aio_members.Members]):
    """The nodes of a cluster."""

    list = blocking(aio_members.Members.list)
    add = blocking(aio_members.Members.add)
    promote = blocking(aio_members.Members.promote)
    demote = blocking(aio_members.Members.demote)
    remove = blocking(aio_members.Members.remove)
    prefer = blocking(aio_members.Members.prefer)


class Producer(Face[aio_producer.Producer]):
    """A producer; any thread may send. Each thread's records stay in order."""

    send = blocking(aio_producer.Producer.send)
    send_batch = blocking(aio_producer.Producer.send_batch)
    send_later = blocking(aio_producer.Producer.send_later)
    oneway = on_loop(aio_producer.Producer.oneway)
    ready = blocking(aio_producer.Producer.ready)
    flush = blocking(aio_producer.Producer.flush)
    resolve = blocking(aio_producer.Producer.resolve)
    close = blocking(aio_producer.Producer.aclose)

    @wraps(aio_producer.Producer.post)
    def post(self, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Receipt]:
        """Send without waiting; the future is a thread's."""

        async def work() -> concurrent.futures.Future[Receipt]:
            return _for_threads(self.inner.post(*args, **kwargs))

        return self.thread.run(work())

    @property
    def status(self) -> ProducerStatus:
        """What it holds, and what hinders it."""
        return self.inner.status

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


class Reader(Face[aio_reader.Reader]):
    """A reader; for one thread at a time."""

    def __init__(self, thread: LoopThread, inner: aio_reader.Reader) -> None:
        super().__init__(thread, inner)
        self._chunk: deque[Message] = deque()

    close = blocking(aio_reader.Reader.aclose)

    def __iter__(self) -> Self:
        """Iterate over messages."""
        return self

    def __next__(self) -> Message:
        """Return the next message; see the asynchronous ``__anext__``."""
        if not self._chunk:
            self.thread.run(self._fill())
        if not self._chunk:
            raise StopIteration
        return self._chunk.popleft()

    async def _fill(self) -> None:
        """Fill the chunk, on the loop: what came to an interrupted wait is there for the next."""
        with suppress(StopAsyncIteration):
            self._chunk.append(await anext(self.inner))
            with suppress(RaftlogError):  # the next one who asks is told
                self._chunk.extend(await self.inner.poll(CHUNK - 1, timeout=0))

    def poll(self, count: int = 100, *, timeout: Duration = 1.0) -> list[Message]:
        """Return up to ``count`` messages; [] if none came within ``timeout`` seconds."""

        async def fill() -> None:
            self._chunk.extend(await self.inner.poll(count, timeout=timeout))

        if not self._chunk:
            self.thread.run(fill())
        return [self._chunk.popleft() for _ in range(min(count, len(self._chunk)))]

    def batches(self) -> Iterator[StoredBatch]:
        """Yield the stored batches: no object for each record."""
        batches = self.inner.batches()

        async def more() -> StoredBatch | None:
            return await anext(batches, None)

        while (batch := self.thread.run(more())) is not None:
            yield batch

    @property
    def status(self) -> aio_reader.ReaderStatus:
        """How far it is; up to 100 messages may be on their way to the iteration."""
        return self.inner.status

    def __enter__(self) -> Self:
        """Find the start."""

        async def enter() -> None:
            await self.inner.__aenter__()

        self.thread.run(enter())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


class Consumer(Face[aio_consumer.Consumer]):
    """A member of a group; for one thread at a time.

    Messages cross from the loop's thread by the hundred. What this thread has not
    been given counts neither as handed out nor as finished.
    """

    def __init__(
        self, thread: LoopThread, inner: aio_consumer.Consumer, *, auto_commit: bool
    ) -> None:
        super().__init__(thread, inner)
        self._auto_commit = auto_commit
        self._chunk: deque[Message] = deque()
        self._handed: list[Message] = []
        self._finished: dict[tuple[str, int], Message] = {}
        """The last message of each queue that is finished, of the current chunk."""
        self._is_closed = False

    def __iter__(self) -> Self:
        """Iterate over messages."""
        return self

    def __next__(self) -> Message:
        """Return the next message; what was handed out before is finished."""
        self._finish()
        while not self._chunk:
            if self._is_closed:
                raise StopIteration
            self._finished.clear()  # the next poll says so of all of them
            self.thread.run(self._fill(CHUNK, IDLE_S))
        message = self._chunk.popleft()
        self._handed.append(message)
        return message

    async def _fill(self, count: int, timeout: Duration) -> None:
        """Fill the chunk, on the loop: what came to an interrupted wait is there for the next."""
        self._chunk.extend(await self.inner.poll(count, timeout=timeout))

    def poll(self, count: int = 100, *, timeout: Duration = 1.0) -> list[Message]:
        """Return up to ``count`` messages; [] if none came within ``timeout`` seconds."""
        self._finish()
        if not self._chunk:
            self._finished.clear()
            self.thread.run(self._fill(count, timeout))
        found = [self._chunk.popleft() for _ in range(min(count, len(self._chunk)))]
        self._handed.extend(found)
        return found

    def commit(self, message: Message | None = None) -> None:
        """Commit everything that was handed out; or, of a queue, up to ``message``."""
        if message is not None:
            self.thread.run(self.inner.commit(message))
            return
        last = dict(self._finished)
        last.update({(each.topic, each.queue): each for each in self._handed})
        for each in last.values():
            self.thread.run(self.inner.commit(each))

    def events(self) -> Iterator[aio_consumer.Rebalanced | aio_consumer.Skipped]:
        """Yield what happens from now on; take them in a thread of their own."""
        events = self.inner.events()

        async def more() -> aio_consumer.Rebalanced | aio_consumer.Skipped | None:
            return await anext(events, None)

        while (event := self.thread.run(more())) is not None:
            yield event

    @property
    def status(self) -> aio_consumer.ConsumerStatus:
        """What it reads, and what hinders it."""
        return self.inner.status

    def close(self) -> None:
        """Commit what is finished (with ``auto_commit``), leave the group, close."""
        if self._is_closed:
            return
        self._is_closed = True
        self.thread.run(self._leave())

    async def _leave(self) -> None:
        if self._auto_commit:
            for message in self._finished.values():
                try:
                    await self.inner.commit(message)
                except RaftlogError:
                    break  # it is handed out again, to somebody else
        await self.inner.aclose()

    def _finish(self) -> None:
        for message in self._handed:
            self._finished[message.topic, message.queue] = message
        self._handed.clear()

    def __enter__(self) -> Self:
        """Join, and wait for the first assignment."""

        async def enter() -> None:
            await self.inner.__aenter__()

        self.thread.run(enter())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit what is finished, leave, close."""
        self.close()


class Client(Face[aio.Client]):
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

    status = blocking(aio.Client.status)
    transfer_leader = blocking(aio.Client.transfer_leader)
    send = blocking(aio.Client.send)
    send_batch = blocking(aio.Client.send_batch)
    send_later = blocking(aio.Client.send_later)
    resolve = blocking(aio.Client.resolve)
    _producer = on_loop(aio.Client.producer)
    _consumer = on_loop(aio.Client.consumer)
    _queue_consumer = on_loop(aio.Client.queue_consumer)
    _reader = on_loop(aio.Client.reader)

    @property
    def topics(self) -> Topics:
        """Create, alter, delete, list and describe topics."""
        return Topics(self.thread, self.inner._topics)

    @property
    def queue_groups(self) -> QueueGroups:
        """Look at queue-style groups."""
        return QueueGroups(self.thread, self.inner._queue_groups)

    @property
    def delayed(self) -> DelayedMessages:
        """List and cancel messages that are not visible yet."""
        return DelayedMessages(self.thread, self.inner._delayed)

    @property
    def members(self) -> Members:
        """See, add, promote, demote and remove nodes of the cluster."""
        return Members(self.thread, self.inner._members)

    @property
    def quotas(self) -> Quotas:
        """Set, remove and list quotas of clients and topics."""
        return Quotas(self.thread, self.inner._quotas)

    @property
    def groups(self) -> Groups:
        """List, describe, seek and delete consumer groups."""
        return Groups(self.thread, self.inner._groups)

    @wraps(aio.Client.producer)
    def producer(self, **options: Any) -> Producer:
        """Return a producer of its own name."""
        return Producer(self.thread, self._producer(**options))

    @wraps(aio.Client.consumer)
    def consumer(self, group: str, topics: str | Sequence[str], **options: Any) -> Consumer:
        """Return a member of a consumer group."""
        inner = self._consumer(group, topics, **options)
        return Consumer(self.thread, inner, auto_commit=options.get("auto_commit", True))

    @wraps(aio.Client.queue_consumer)
    def queue_consumer(
        self, group: str, topics: str | Sequence[str] = (), **options: Any
    ) -> QueueConsumer:
        """Return a consumer of a queue-style group."""
        return QueueConsumer(self.thread, self._queue_consumer(group, topics, **options))

    @wraps(aio.Client.reader)
    def reader(self, topic: str, **options: Any) -> Reader:
        """Return a reader of a topic."""
        return Reader(self.thread, self._reader(topic, **options))

    def close(self) -> None:
        """Close, with all producers, consumers and readers, and end the thread. Idempotent."""
        if self.thread.is_closed or self.thread.is_elsewhere:
            return
        try:
            self.thread.run(self.inner.aclose())
        finally:
            self.thread.close()

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
