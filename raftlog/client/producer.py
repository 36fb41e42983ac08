"""The producer: sends records, each stored once (rulings 9, 10).

::

    async with client.producer(linger=0.005) as producer:
        receipt = await producer.send("orders", b"v", key=b"k")

What is lost on the way is sent again, in order, until there is a receipt or the
timeout is over; the broker stores it once. Records of one producer with one key
(or one explicit queue) are stored in the order in which they were sent.
"""

import asyncio
import warnings
from asyncio import _get_running_loop
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import index
from types import TracebackType
from typing import Any, Final, Self

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    BadRequest,
    BufferFull,
    Closed,
    OutcomeUnknown,
    RaftlogError,
    Refused,
    WrongLoop,
    WrongQueue,
)
from raftlog.base.limits import PENDING_PROPOSALS_MAX, UNCOMMITTED_BYTES_MAX
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog
from raftlog.client.dispatch import Dispatch
from raftlog.client.durations import Duration, seconds
from raftlog.client.lanes import Lane, Whole
from raftlog.client.later import DelayedReceipt, DelayLike, Later, later
from raftlog.client.oneway import Oneway
from raftlog.client.outbox import Outbox, Single
from raftlog.client.packing import (
    LARGE_BYTES,
    HeadersLike,
    check_size,
    encode_records,
    record_of,
    route_by_id,
    route_of,
    size_of,
)
from raftlog.client.producer_status import ProducerStatus
from raftlog.client.receipts import BatchReceipt, Receipt
from raftlog.client.room import Room
from raftlog.client.tickets import Ticket
from raftlog.wire.batch import Record, parse_batch_header
from raftlog.wire.codecs import codec_named


class Producer:
    """Sends to any topics. Made by ``Client.producer``; bound to its loop.

    Leaving ``async with`` flushes first, unless it is left by a cancellation.
    """

    def __init__(
        self,
        asker: Asker,
        catalog: Catalog,
        *,
        linger: Duration = 0.0,
        compression: str = "none",
        timeout: Duration | None = None,
        buffer_records: int = PENDING_PROPOSALS_MAX,
        buffer_bytes: int = UNCOMMITTED_BYTES_MAX,
    ) -> None:
        codec_named(compression)  # what is missing is missed now, not at the first send
        self._loop: Final = asyncio.get_running_loop()
        self._create_future = self._loop.create_future
        self._catalog = catalog
        self._timeout_s = asker.timeout_s if timeout is None else seconds(timeout)
        self._codec = compression
        self._room = Room(self._loop, records_max=buffer_records, bytes_max=buffer_bytes)
        self._dispatch = Dispatch(
            asker,
            codec=compression,
            linger_s=seconds(linger),
            look_up=self._look_again,
            ended=self._ended,
            room=self._room,
        )
        self._outboxes: dict[str, Outbox] = {}
        self._oneway = Oneway(asker, catalog, compression)
        self._is_closed = False
        self.on_closed: Callable[[Any], None] = lambda _: None

    async def __aenter__(self) -> Self:
        """Begin; nothing is asked before something is sent."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Flush and close; without flushing if this is a cancellation."""
        await self.aclose(flush=kind is None or issubclass(kind, Exception))

    def __del__(self) -> None:
        """Complain about a producer that was forgotten with records in it."""
        if not getattr(self, "_is_closed", True) and self._room.records:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    # -- sending

    def send(  # noqa: PLR0913  (one option for each thing that a record may have)
        self,
        topic: str,
        value: Buffer | None,
        *,
        key: bytes | None = None,
        headers: HeadersLike | None = None,
        tag: str | None = None,
        timestamp: datetime | None = None,
        id: str | None = None,  # noqa: A002  (the name that it has everywhere)
        queue: int | None = None,
        timeout: Duration | None = None,
    ) -> "asyncio.Future[Receipt]":
        """Send one record; await the result for its receipt: it is stored then.

        Waits for room when the buffer is full. All sends of one turn of the loop to
        one queue share a batch.

        Args:
            topic: The topic.
            value: Bytes, or None.
            key: Records with one key stay in order, in one queue.
            headers: Names and values.
            tag: For filters; at most 127 characters.
            timestamp: When it happened; without it, now.
            id: Its own name, 1 to 127 characters: in the topic's window it is stored once,
                whoever sends it; all other receipts have the first one's offset, and say
                ``duplicate``. It chooses the queue if there is no key.
            queue: The place of a queue in the topic, instead of a choice by key.
            timeout: Seconds for all of it; without it, the producer's.

        Raises (when awaited):
            OutcomeUnknown: No receipt in time, and it may have been stored; its ticket is
                for ``resolve``.
            Retriable: It was not stored in time; which error says why (BufferFull,
                Unavailable, NotLeader, Throttled, NotCommitted, OutOfOrder).
            TopicNotFound, WrongQueue, NotPermitted, WrongMessageType, LimitReached,
                RecordTooLarge, BadRequest: It was not stored, and never will be.
            Closed: The producer was closed before.

        Raises:
            WrongLoop: This is not the loop that the producer was made on.
            TypeError: A value, key or header is no bytes, or a queue's place no number.
            BadRequest: A header's name, tag or id is too long, or no text for UTF-8.

        Cancelling the future forgets the receipt, not the record.
        """
        if _get_running_loop() is not self._loop:
            raise self._wrong_loop()
        if queue is not None:
            queue = index(queue)
        record = None
        if (
            type(value) is bytes
            and headers is None
            and tag is None
            and timestamp is None
            and id is None
            and (key is None or type(key) is bytes)
        ):
            size = len(value) if key is None else len(value) + len(key)
        else:
            record = record_of(value, key, headers, tag, timestamp, id)
            value, key, size = record.value or b"", route_of(record), size_of(record)
        timeout_s = self._timeout_s if timeout is None else seconds(timeout)
        future: asyncio.Future[Receipt] = self._create_future()
        if size > LARGE_BYTES or self._is_closed:
            error = self._refusal(record or Record(value, key))
            if error is not None:
                future.set_exception(error)
                return future
        room = self._room
        if room.records >= room.records_max or room.bytes >= room.bytes_max or room.waiters:
            single = Single(value, key, record, future)
            room.wait(
                timeout_s,
                admit=lambda left_s: self._put(topic, single, size, queue, left_s),
                is_over=future.done,
                fail=future.set_exception,
            )
            return future
        outbox = self._outboxes.get(topic)
        lane = None if outbox is None else outbox.lane_for(key, queue)
        if lane is None:
            self._put(topic, Single(value, key, record, future), size, queue, timeout_s)
        else:
            room.records += 1
            room.bytes += size
            lane.add(value, key, record, size, timeout_s, future)
        return future

    def _put(
        self, topic: str, single: Single, size: int, queue: int | None, timeout_s: float
    ) -> None:
        """The slow way: the first record of a topic, and what had to wait for room."""
        self._room.enter(1, size)
        outbox = self._outboxes.get(topic) or self._outbox(topic)
        lane = outbox.lane_for(single.key, queue)
        if lane is None:
            outbox.put_aside(single, size, queue, timeout_s)
        else:
            lane.add(*single[:3], size, timeout_s, single.future)

    def post(  # noqa: PLR0913  (one option for each thing that a record may have)
        self,
        topic: str,
        value: Buffer | None,
        *,
        key: bytes | None = None,
        headers: HeadersLike | None = None,
        tag: str | None = None,
        timestamp: datetime | None = None,
        id: str | None = None,  # noqa: A002  (the name that it has everywhere)
        queue: int | None = None,
        timeout: Duration | None = None,
    ) -> "asyncio.Future[Receipt]":
        """As ``send``, but never waits for room.

        Raises:
            BufferFull: The buffer is full; await ``ready``, or some of the receipts.
            WrongLoop, TypeError: As ``send``.
        """
        if self._room.is_full and not self._is_closed:
            raise self._room.full()
        return self.send(
            topic,
            value,
            key=key,
            headers=headers,
            tag=tag,
            timestamp=timestamp,
            id=id,
            queue=queue,
            timeout=timeout,
        )

    def send_batch(
        self,
        topic: str,
        batch: Buffer | Sequence[Record],
        *,
        key: bytes | None = None,
        queue: int | None = None,
        timeout: Duration | None = None,
    ) -> "asyncio.Future[BatchReceipt]":
        """Append records as one batch to one queue: all of them or none.

        Args:
            topic: The topic.
            batch: Records, or one batch that is encoded already.
            key: Chooses the queue, as for ``send``; the records' own keys do not.
            queue: The place of a queue in the topic.
            timeout: Seconds for all of it; without it, the producer's.

        Raises (when awaited): as ``send``; BadBatch for bytes that are no batch.

        Raises:
            RecordTooLarge: Over 4 MiB or 10 000 records.
            BadRequest: There are no records, or a tag is too long.
            BufferFull, WrongLoop: As ``post``.
        """
        future: asyncio.Future[BatchReceipt] = self._loop.create_future()
        self._put_whole(topic, batch, (key, queue), timeout, future, None)
        return future

    def _put_whole(
        self,
        topic: str,
        batch: Buffer | Sequence[Record],
        where: tuple[bytes | None, int | None],
        timeout: Duration | None,
        future: "asyncio.Future[BatchReceipt] | asyncio.Future[DelayedReceipt]",
        when: Later | None,
    ) -> None:
        if _get_running_loop() is not self._loop:
            raise self._wrong_loop()
        key, queue = where[0], None if where[1] is None else index(where[1])
        timeout_s = self._timeout_s if timeout is None else seconds(timeout)
        if self._is_closed:
            future.set_exception(Closed("the producer was closed"))
            return
        if self._room.is_full:
            raise self._room.full()
        if isinstance(batch, bytes | bytearray | memoryview):
            data: Buffer = batch
            try:
                count = parse_batch_header(data).count
            except Refused as error:
                future.set_exception(error)
                return
        else:
            fifo = self._catalog.needs(topic).hashes
            data, count = encode_records(batch, codec=self._codec, fifo=fifo), len(batch)
            key = route_by_id(batch[0]) if key is None else key
        self._room.enter(count, len(data))
        outbox = self._outboxes.get(topic) or self._outbox(topic)
        outbox.put_batch(key, queue, Whole(data, count, future, when), timeout_s)

    def send_later(  # noqa: PLR0913  (as ``send``, and when)
        self,
        topic: str,
        value: Buffer | None,
        *,
        delay: DelayLike | None = None,
        deliver_at: datetime | None = None,
        key: bytes | None = None,
        headers: HeadersLike | None = None,
        tag: str | None = None,
        timestamp: datetime | None = None,
        queue: int | None = None,
        timeout: Duration | None = None,
    ) -> "asyncio.Future[DelayedReceipt]":
        """Send one record that becomes visible later, at the end of its queue then, once.

        Args:
            topic: The topic.
            value: Bytes, or None.
            delay: From when it is stored: a timedelta, seconds, or the name of a level
                (``DELAY_LEVELS``); up to 40 days.
            deliver_at: A time instead, with a time zone; what is past is now.
            key: As for ``send``, as are the other arguments.
            headers: Names and values.
            tag: For filters.
            timestamp: When it happened; without it, now.
            queue: The place of a queue in the topic.
            timeout: Seconds until it is stored, not until it is delivered.

        Raises (when awaited): as ``send``; BadDelay for a time more than 40 days away.

        Raises:
            BadDelay: A delay that is negative or more than 40 days, or no name of a level.
            BadRequest: Both a delay and a time, or neither; or as ``send``.
            BufferFull, WrongLoop, TypeError: As ``post``.
        """
        when = later(delay, deliver_at)
        record = record_of(value, key, headers, tag, timestamp)
        future: asyncio.Future[DelayedReceipt] = self._loop.create_future()
        self._put_whole(topic, [record], (key, queue), timeout, future, when)
        return future

    def oneway(
        self,
        topic: str,
        value: Buffer | None,
        *,
        key: bytes | None = None,
        headers: HeadersLike | None = None,
        tag: str | None = None,
        timestamp: datetime | None = None,
        queue: int | None = None,
    ) -> None:
        """Send one record at most once: no receipt, no second try, no word of a failure.

        What is given up before it was sent is counted (``status.oneway_dropped``).

        Raises:
            RecordTooLarge, Closed, WrongLoop, TypeError: As ``send``.
        """
        if _get_running_loop() is not self._loop:
            raise self._wrong_loop()
        record = record_of(value, key, headers, tag, timestamp)
        error = self._refusal(record)
        if error is not None:
            raise error
        self._oneway.put(topic, record, queue)

    # -- waiting

    async def ready(self, *, timeout: Duration | None = None) -> None:
        """Wait until there is room for ``post``.

        Raises:
            BufferFull: There was none in time.
            Closed: The producer was closed meanwhile.
        """
        await self._room.ready(self._timeout_s if timeout is None else seconds(timeout))

    async def flush(self, *, timeout: Duration | None = None) -> None:
        """Wait until everything that was accepted before has its receipt, or its error.

        Lingering ends at once. The errors are told to those who await the sends, not here.

        Raises:
            TimeoutError: Something is without an answer still; nothing is given up.
        """
        async with asyncio.timeout(None if timeout is None else seconds(timeout)):
            await self._room.passed()
            for outbox in list(self._outboxes.values()):
                await outbox.looked_up()
            await self._dispatch.flushed()

    async def resolve(
        self, ticket: object, *, timeout: Duration | None = None
    ) -> Receipt | BatchReceipt | DelayedReceipt:
        """Find out what became of a send that ended in ``OutcomeUnknown``.

        Never a look, always a commit: the queue is fenced, so that the answer is final
        (a late copy can't be stored any more). The producer does that by itself; this
        waits for it.

        Returns:
            The receipt: it was stored.

        Raises:
            NotStored: It was not stored and never will be.
            OutcomeUnknown: Nobody could be asked in time; ask again with the same ticket. Or it
                was sent so long ago that its queue may have forgotten it: without a ticket.
            WrongQueue: Its topic was deleted meanwhile.
            BadRequest: The ticket is of another producer.
        """
        if not isinstance(ticket, Ticket) or not ticket.is_of(self._dispatch):
            raise BadRequest("this ticket was not given by this producer; resolve it there")
        try:
            async with asyncio.timeout(self._timeout_s if timeout is None else seconds(timeout)):
                return await ticket.result()
        except TimeoutError:
            trouble = self._dispatch.trouble
            text = f"nobody could be asked in time{f' ({trouble})' if trouble else ''}"
            raise OutcomeUnknown(text, ticket) from None

    @property
    def status(self) -> ProducerStatus:
        """What it holds, and what hinders it."""
        room = self._room
        return ProducerStatus(
            room.records, room.bytes, self._oneway.dropped, self._dispatch.trouble
        )

    async def aclose(self, *, flush: bool = True) -> None:
        """Close; what is without a receipt then ends in ``OutcomeUnknown`` or ``Closed``.

        Args:
            flush: Wait for receipts first, as long as the producer's timeout.

        Idempotent. Cancelled, it closes at once.
        """
        if self._is_closed:
            return
        try:
            if flush and self._room.records:
                await self.flush(timeout=self._timeout_s)
        except (TimeoutError, BufferFull, Closed):
            pass  # every send is told below
        finally:
            self._close()
        await self._dispatch.finished()

    def _close(self) -> None:
        self._is_closed = True
        self.on_closed(self)
        error = Closed("the producer was closed")
        self._room.close(error)
        for outbox in self._outboxes.values():
            outbox.close(error)
        self._oneway.close()
        self._dispatch.close()

    # -- inside

    def _outbox(self, topic: str) -> Outbox:
        outbox = self._outboxes[topic] = Outbox(self._dispatch, self._catalog, topic)
        return outbox

    def _refusal(self, record: Record) -> RaftlogError | None:
        if self._is_closed:
            return Closed("the producer was closed")
        try:
            check_size(record)
        except RaftlogError as error:
            return error
        return None

    def _wrong_loop(self) -> WrongLoop:
        return WrongLoop(
            "this producer is bound to the event loop that it was made on, and this is another "
            "loop, thread or process"
        )

    def _look_again(self, lane: Lane, error: WrongQueue) -> None:
        self._outboxes[lane.topic].look_again(lane, error)

    def _ended(self, lane: Lane) -> None:
        if not self._is_closed:
            self._outboxes[lane.topic].replace(lane)
