"""The client of a log: send, read, and ask where it ends.

::

    async with LogClient(["127.0.0.1:7201", "127.0.0.1:7202"]) as log:
        receipt = await log.send(b"hello")
        async for batch in log.batches(receipt.offset):
            for offset, record in batch.records():
                ...

Any node will do as a seed; the client finds the leader and follows it. What was
definitely refused is tried again within the timeout. An append whose outcome is
unknown (the connection was lost, or no answer came in time) is **not** sent
again behind the caller's back: nothing removes duplicates yet, so it ends in
``OutcomeUnknown`` and the caller decides, after reading the log if need be.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Final, Self

from raftlog.base.entry import Buffer
from raftlog.base.errors import ProtocolError
from raftlog.base.ids import Index, NodeId, Offset
from raftlog.client.asking import Asker
from raftlog.client.packing import encode_records
from raftlog.client.reading import READ_BYTES, split_answer
from raftlog.client.receipts import BatchReceipt, ReadBatches, Receipt, StoredBatch
from raftlog.client.routing import Router
from raftlog.client.sending import QueueSender
from raftlog.wire.batch import Record
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

FOLLOW_WAIT_S: Final = 5.0


class LogClient:
    """A client of one shard. Used with ``async with``; bound to one loop.

    Args:
        seeds: ``host:port`` of some nodes' client addresses.
        shard: The shard.
        cluster: Refuse any other cluster; "" takes the one that is found.
        timeout_s: How long a send, or a call, is tried.
    """

    def __init__(
        self,
        seeds: Sequence[str],
        *,
        shard: int = 0,
        cluster: str = "",
        timeout_s: float = 30.0,
    ) -> None:
        self._router = Router(seeds, shard=shard, cluster=cluster)
        self._asker = Asker(self._router, shard=shard, timeout_s=timeout_s)
        self._shard = shard
        self._timeout_s = timeout_s
        self._senders: dict[int, QueueSender] = {}
        self._applied = 0

    async def __aenter__(self) -> Self:
        """Begin; nothing is connected before it is needed."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close. Sends without a receipt end in ``OutcomeUnknown``. Idempotent."""
        for sender in self._senders.values():
            sender.close()
        await self._router.aclose()

    # -- writing

    def send(self, record: bytes | Record, *, queue: int = 0) -> "asyncio.Future[Receipt]":
        """Send one record (``bytes``: a value alone); await the future for its receipt.

        All sends of one turn of the loop travel in one batch. Cancelling the
        future forgets the receipt, not the record.

        Raises (in the future):
            OutcomeUnknown: It may have been stored, or still be; it was not sent again.
            Throttled, Unavailable, NotLeader, NotCommitted: Not stored, and the
                timeout is over.
            RecordTooLarge: Not stored; over 4 MiB.
            Closed: The client was closed before.
        """
        sender = self._senders.get(queue)
        if sender is None:
            sender = self._sender(queue)
        return sender.send(record)

    def send_batch(
        self, batch: Buffer | Sequence[Record], *, queue: int = 0
    ) -> "asyncio.Future[BatchReceipt]":
        """Append one batch, all of it or nothing: records, or one that is encoded already.

        Raises (in the future): as ``send``.

        Raises:
            RecordTooLarge: The records make a batch over 4 MiB or 10 000 records.
        """
        if isinstance(batch, bytes | bytearray | memoryview):
            return self._sender(queue).send_batch(batch)
        return self._sender(queue).send_batch(encode_records(batch))

    def _sender(self, queue: int) -> QueueSender:
        sender = self._senders.get(queue)
        if sender is None:
            sender = QueueSender(self._router, queue, shard=self._shard, timeout_s=self._timeout_s)
            self._senders[queue] = sender
        return sender

    # -- reading

    async def read(
        self,
        offset: int,
        *,
        queue: int = 0,
        bytes_max: int = READ_BYTES,
        wait_s: float = 0.0,
    ) -> ReadBatches:
        """Read stored batches; the first one holds ``offset``.

        Reads see what is applied, in an order that never goes back within this
        client; the newest records may be missing on a leader that was just cut
        off (``end_offset`` is exact).

        Args:
            offset: Where to begin.
            queue: The queue.
            bytes_max: About so much; at least one batch.
            wait_s: How long to wait for records at the queue's end.

        Raises:
            OffsetOutOfRange: The queue does not reach there; the error says where it does.
            Unavailable: No leader within the timeout.
        """
        answer, payload = await self._asker.ask(
            Method.READ,
            client.ReadBatches(
                queue=queue,
                offset=offset,
                bytes_max=bytes_max,
                wait_ms=int(wait_s * 1000),
                session_applied=self._applied,
            ),
            client.BatchesRead,
            timeout_s=max(self._timeout_s, wait_s),
            wait_s=wait_s,
        )
        self._applied = max(self._applied, answer.applied)
        batches = split_answer(answer, payload)
        return ReadBatches(batches, Offset(answer.end_offset), Index(answer.applied))

    async def batches(
        self, start: int = 0, *, queue: int = 0, end: int | None = None
    ) -> AsyncIterator[StoredBatch]:
        """Yield the stored batches from the one that holds ``start`` on.

        The next read is under way while a batch is being used. Follows the queue
        for ever, or to ``end``: the batch that holds ``end - 1`` is the last.

        Raises: as ``read``, and ProtocolError for an answer that cannot be walked.
        """
        offset = start
        while end is None or offset < end:
            found = await self.read(offset, queue=queue, wait_s=FOLLOW_WAIT_S)
            while found.batches:
                last = found.batches[-1]
                if last.base_offset + last.count <= offset:
                    raise ProtocolError(f"a read from {offset} gave batches before it")
                offset = last.base_offset + last.count
                is_last = end is not None and offset >= end
                ahead = None
                if not is_last and offset < found.end_offset:
                    ahead = asyncio.ensure_future(self.read(offset, queue=queue))
                try:
                    for batch in _before(found.batches, end):
                        yield batch
                    if ahead is None:
                        break
                    found = await ahead
                finally:
                    if ahead is not None and not ahead.done():
                        ahead.cancel()

    async def end_offset(self, queue: int = 0) -> Offset:
        """Return the offset that the next record will get: exact (linearizable).

        Raises:
            Unavailable: No leader could confirm it within the timeout.
        """
        answer, _ = await self._asker.ask(
            Method.END_OFFSET, client.EndOffset(queue=queue), client.EndOffsetIs
        )
        return Offset(answer.end_offset)

    # -- the cluster

    async def status(self) -> client.NodeStatus:
        """Return what the leader says about itself (``routing.ask_status``: any node)."""
        answer, _ = await self._asker.ask(Method.STATUS, client.GetStatus(), client.NodeStatus)
        return answer

    async def transfer(self, target: NodeId | None = None) -> None:
        """Ask the leader to hand over, to ``target`` or to the best follower.

        Returns when it has begun; watch ``status`` for the end.

        Raises:
            OutcomeUnknown: No answer; it may have begun.
            Unavailable: No leader within the timeout.
        """
        message = client.TransferLeader(target=target or "")
        await self._asker.ask(Method.TRANSFER, message, client.TransferStarted)


def _before(batches: Sequence[StoredBatch], end: int | None) -> Sequence[StoredBatch]:
    """Leave out batches that begin at or after ``end``."""
    if end is None or batches[-1].base_offset < end:
        return batches
    return [batch for batch in batches if batch.base_offset < end]
