"""Sends become batches: all of one turn of the loop share one, each with its own receipt.

::

    send, send, send ..  --> open batch --(end of the turn)--> in flight (at most 64 a queue)
                                 ^                                   |
                                 +-- grows while 64 are in flight    +--> one receipt per send

One future per send is what the caller awaits; everything else costs per batch.

What was refused (``NotLeader``, ``Throttled``, ``Unavailable``, ``NotCommitted``)
never happened and is sent again until the timeout. An outcome that is unknown
is *not* sent again: nothing removes duplicates yet, so the caller is told
``OutcomeUnknown`` and decides. Batches that are sent again may overtake each
other; a caller who needs an order waits for each receipt.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    Closed,
    NotLeader,
    OutcomeUnknown,
    ProtocolError,
    RaftlogError,
    RecordTooLarge,
    Refused,
    Retriable,
    Throttled,
    Unavailable,
)
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import (
    BATCH_RECORDS_MAX,
    COALESCE_BYTES_MAX,
    PENDING_PROPOSALS_MAX,
    UNCOMMITTED_BYTES_MAX,
)
from raftlog.base.turn import turn_of
from raftlog.client.asking import RETRY_PAUSE_S
from raftlog.client.packing import Columns
from raftlog.client.receipts import BatchReceipt, Receipt
from raftlog.client.routing import Router
from raftlog.wire.batch import Record, parse_batch_header
from raftlog.wire.frame import Frame, Method
from raftlog.wire.requests import parse_header
from raftlog.wire.schema import client

IN_FLIGHT_MAX: Final = 64
LOG: Final = "%log"
"""The topic of the queues that this client writes."""
OnEnd = Callable[[BatchReceipt | RaftlogError], None]


class _Pending:
    """One batch on its way."""

    __slots__ = ("bytes", "count", "data", "last_error", "on_end", "request", "timer")

    def __init__(self, data: Buffer, count: int, on_end: OnEnd) -> None:
        self.data = data
        self.bytes = len(data)
        self.count = count
        self.on_end: OnEnd | None = on_end
        self.request: Callable[[], None] | None = None
        """Forgets the request, while one is unanswered."""
        self.timer: asyncio.TimerHandle | None = None
        self.last_error: RaftlogError | None = None


class QueueSender:
    """Sends to one queue. Bound to the loop that it was made on."""

    def __init__(self, router: Router, queue: int, *, shard: int, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._turn = turn_of(self._loop)
        self._router = router
        self._queue = queue
        self._shard = shard
        self._timeout_s = timeout_s
        self._header = client.AppendBatch(queue=queue).SerializeToString()
        self._open = Columns()
        self._is_scheduled = False
        self._ready: deque[_Pending] = deque()
        self._in_flight: set[_Pending] = set()
        self._pending_bytes = 0
        self._pending_records = 0
        self._retries: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def send(self, record: bytes | Record) -> "asyncio.Future[Receipt]":
        """Send one record; the future's result is its receipt. See ``LogClient.send``."""
        future: asyncio.Future[Receipt] = self._loop.create_future()
        batch = self._open
        waiting = self._pending_records + len(batch.futures)
        if waiting >= PENDING_PROPOSALS_MAX or self._pending_bytes >= UNCOMMITTED_BYTES_MAX:
            future.set_exception(Throttled(f"{waiting} records wait in this client already"))
            return future
        if self._is_closed:
            future.set_exception(Closed("the client was closed"))
            return future
        size = len(record) if isinstance(record, bytes) else len(record.value or b"")
        if batch.futures and (
            batch.bytes + size > COALESCE_BYTES_MAX or len(batch.futures) >= BATCH_RECORDS_MAX
        ):
            self._seal()
            batch = self._open
        if isinstance(record, bytes):
            batch.add_value(record)
        else:
            batch.add_record(record)
        batch.futures.append(future)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._turn.handle, self._flush)
        return future

    def send_batch(self, data: Buffer) -> "asyncio.Future[BatchReceipt]":
        """Send an encoded batch as it is; all of it is stored, or nothing."""
        future: asyncio.Future[BatchReceipt] = self._loop.create_future()

        def on_end(result: BatchReceipt | RaftlogError) -> None:
            if future.done():
                return
            if isinstance(result, RaftlogError):
                future.set_exception(result)
            else:
                future.set_result(result)

        if self._is_closed:
            on_end(Closed("the client was closed"))
        elif self._pending_bytes >= UNCOMMITTED_BYTES_MAX:
            on_end(Throttled(f"{self._pending_bytes} bytes wait in this client already"))
        else:
            try:
                count = parse_batch_header(data).count
            except Refused as error:
                on_end(error)
                return future
            self._add(_Pending(data, count, on_end))
            self._start_ready()
        return future

    def close(self) -> None:
        """End everything that waits: what was sent and not answered is unknown."""
        self._is_closed = True
        for task in self._retries:
            task.cancel()
        if self._open.futures:
            self._seal()
        for pending in (*self._ready, *tuple(self._in_flight)):
            self._expire(pending, "the client was closed")

    # -- packing

    def _flush(self) -> None:
        self._is_scheduled = False
        # While the window is full the batch stays open and grows: fewer, larger ones follow.
        if self._open.futures and len(self._in_flight) < IN_FLIGHT_MAX:
            self._seal()
        self._start_ready()

    def _seal(self) -> None:
        batch, self._open = self._open, Columns()
        try:
            data = batch.encode()
        except RecordTooLarge as error:
            for future in batch.futures:
                if not future.done():
                    future.set_exception(error)
            return
        futures = batch.futures
        queue = self._queue

        def on_end(result: BatchReceipt | RaftlogError) -> None:
            if isinstance(result, RaftlogError):
                for future in futures:
                    if not future.done():
                        future.set_exception(result)
                return
            term, index, durability = result.term, result.index, result.durability
            for offset, future in enumerate(futures, result.base_offset):
                if not future.done():
                    receipt = Receipt(LOG, queue, Offset(offset), term, index, durability)
                    future.set_result(receipt)

        self._add(_Pending(data, len(futures), on_end))

    def _add(self, pending: _Pending) -> None:
        self._ready.append(pending)
        self._pending_bytes += pending.bytes
        self._pending_records += pending.count
        pending.timer = self._loop.call_later(
            self._timeout_s, self._expire, pending, f"no receipt within {self._timeout_s:g} s"
        )

    # -- flying

    def _start_ready(self) -> None:
        while self._ready and len(self._in_flight) < IN_FLIGHT_MAX:
            pending = self._ready.popleft()
            if pending.on_end is not None:
                self._in_flight.add(pending)
                self._start(pending)

    def _start(self, pending: _Pending) -> None:
        channel = self._router.leader
        if channel is None:
            self._retry(pending, None)
            return

        def on_answer(result: Frame | RaftlogError) -> None:
            pending.request = None
            if isinstance(result, NotLeader):
                self._router.demote(channel, result)
            self._on_answer(pending, result)

        try:
            request_id = channel.request(
                Method.APPEND, self._header, (pending.data,), on_answer, shard=self._shard
            )
        except Retriable as error:
            self._retry(pending, error)
        else:
            pending.request = lambda: channel.forget(request_id)

    def _on_answer(self, pending: _Pending, result: Frame | RaftlogError) -> None:
        if isinstance(result, Retriable):
            self._retry(pending, result)
        elif isinstance(result, RaftlogError):
            self._end(pending, result)
        else:
            try:
                answer = parse_header(client.BatchAppended, result.header)
            except ProtocolError as error:
                self._end(pending, OutcomeUnknown(f"the answer cannot be read: {error}"))
                return
            receipt = BatchReceipt(
                LOG,
                self._queue,
                Offset(answer.base_offset),
                pending.count,
                Term(answer.term),
                Index(answer.index),
                answer.durability,
            )
            self._end(pending, receipt)

    def _retry(self, pending: _Pending, error: Retriable | None) -> None:
        """It never happened: find the leader, and send it again."""
        if pending.on_end is None or self._is_closed:
            return
        pending.last_error = error or pending.last_error
        pause_s = 0.0 if error is None else RETRY_PAUSE_S
        if isinstance(error, Throttled):
            pause_s = error.retry_after
        elif isinstance(error, NotLeader) and error.leader_address:
            pause_s = 0.0
        task = self._loop.create_task(self._start_again(pending, pause_s))
        self._retries.add(task)
        task.add_done_callback(self._retries.discard)

    async def _start_again(self, pending: _Pending, pause_s: float) -> None:
        if pause_s:
            await asyncio.sleep(pause_s)
        try:
            await self._router.find(self._timeout_s)
        except RaftlogError as error:
            self._end(pending, error)
            return
        if pending.on_end is not None:
            self._start(pending)

    def _expire(self, pending: _Pending, why: str) -> None:
        """Time is up. What is unanswered may have happened; what was refused did not."""
        if pending.request is not None:
            pending.request()
            error: RaftlogError = OutcomeUnknown(f"{why}; it may have happened or still happen")
        else:
            error = pending.last_error or Unavailable(f"{why}; nothing was sent")
        self._end(pending, error)

    def _end(self, pending: _Pending, result: BatchReceipt | RaftlogError) -> None:
        on_end, pending.on_end = pending.on_end, None
        if on_end is None:
            return
        if pending.timer is not None:
            pending.timer.cancel()
        self._in_flight.discard(pending)
        self._pending_bytes -= pending.bytes
        self._pending_records -= pending.count
        on_end(result)
        if not self._is_closed and (self._ready or self._open.futures) and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._turn.handle, self._flush)
