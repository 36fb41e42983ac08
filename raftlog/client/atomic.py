"""Atomic transactions: sends, and what they were made from, all together or not at all.

::

    async with client.consumer("billing", "orders", auto_commit=False) as consumer:
        async for message in consumer:
            async with client.atomic() as tx:
                tx.commit_offsets(consumer, message)
                tx.send("invoices", invoice(message.value), key=message.key)
            print(tx.receipts)

Nothing is sent before the block ends. Then all of it becomes visible at one index of the log:
the records, the offsets, the acknowledgements; of more than 1 MiB a part is staged before, where
nobody sees it. So each message is counted once in what is made
from it, whoever dies and whatever is lost on the way.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Final, Self

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    BadRequest,
    Closed,
    CrossShard,
    Fenced,
    TransactionTooLarge,
    Unavailable,
    UnknownMember,
    WrongLoop,
    WrongQueue,
)
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import TRANSACTION_BYTES_MAX, TRANSACTION_STAGED_BYTES_MAX
from raftlog.client.acknowledging import Acknowledged
from raftlog.client.asking import Asker
from raftlog.client.atomic_dispatch import GONE, AtomicDispatch, Attempt, Committed
from raftlog.client.atomic_packing import ToSend, pack, weight_of
from raftlog.client.catalog import Catalog, Queues
from raftlog.client.consumer import Consumer
from raftlog.client.packing import HeadersLike, place_of_key, record_of
from raftlog.client.queue_consumer import QueueConsumer
from raftlog.client.queue_message import QueueMessage
from raftlog.client.receipts import Message, Receipt
from raftlog.client.rewinding import Finished
from raftlog.client.starting import no_queue
from raftlog.wire.batch import Record
from raftlog.wire.batch_header import BATCH_HEADER_BYTES


class _Sent(msgspec.Struct, frozen=True, gc=False):
    """One send, as it was asked for."""

    topic: str
    record: Record
    queue: int | None


class _Place(msgspec.Struct, frozen=True, gc=False):
    """Where a send went: place and number of its queue, and its number among what goes there."""

    place: int
    queue: int
    number: int


class AtomicTransaction:
    """Sends, offsets and acknowledgements of one block. Made by ``Client.atomic``; used once.

    Leaving the block commits, and waits for it. Left by an exception, nothing is sent.

    Attributes:
        receipts: Where the records are, in the order of the sends; () before the commit. An
            offset of -1: the record was stored, and its topic was deleted since.
    """

    def __init__(
        self, dispatch: AtomicDispatch, catalog: Catalog, *, timeout_s: float, codec: str
    ) -> None:
        self.receipts: tuple[Receipt, ...] = ()
        self._dispatch: Final = dispatch
        self._catalog: Final = catalog
        self._timeout_s: Final = timeout_s
        self._codec: Final = codec
        self._loop: Final = asyncio.get_running_loop()
        self._sent: Final[list[_Sent]] = []
        self._topics: Final[set[str]] = set()
        self._bytes = 0
        self._finished: Final[dict[Consumer, Finished]] = {}
        self._acked: Final = Acknowledged()
        self._is_begun = self._is_over = self._is_committed = self._has_failed = False

    async def __aenter__(self) -> Self:
        """Begin; nothing is asked before the end."""
        if self._is_begun:
            raise BadRequest("a transaction is used once; make another one with client.atomic()")
        self._is_begun = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit, if the block has ended well.

        Raises:
            OutcomeUnknown: No answer in time; ``client.resolve`` with its ticket tells.
            Retriable: It was not committed in time, and never will be.
            Fenced, UnknownMember: A queue of a consumer is somebody else's now, or more of it
                was committed since its messages were read.
            StaleLease: A message is not leased to its consumer any more, or is finished.
            TopicNotFound, WrongQueue, NotPermitted, LimitReached: As ``send`` of a producer.
            OffsetGoesBack: The messages of a queue were finished before.
            TransactionTooLarge: It has more than 1 MiB, and the cluster's version takes no more;
                or too much of it is in one queue, or the last records of many are too large.
            TransactionExpired: It has more than 1 MiB, and its commit came too late.
        """
        if self._is_over:
            return
        self._is_over = True
        attempt: Attempt | None = None

        def begun(trying: Attempt) -> None:
            nonlocal attempt
            attempt = trying

        try:
            if error is None:
                await self._commit(begun)
        except BaseException as failure:
            self._failed(attempt, failure)
            if isinstance(failure, Fenced | UnknownMember):
                for consumer in self._finished:
                    consumer._membership.nudge()
            raise
        if error is not None:
            self._failed(None, error)

    # -- what is to be committed

    def send(
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
        """Send one record at the end of the block. Records of one queue keep their order.

        Args:
            topic: The topic.
            value: Bytes, or None.
            key: As for ``Producer.send``, as are the other arguments. Records without one
                share a queue of their topic.
            headers: Names and values.
            tag: For filters.
            timestamp: When it happened; without it, the time of the commit.
            queue: The place of a queue in the topic.

        Raises:
            TransactionTooLarge: It has more than 1 MiB, or with it there are more than 32 MiB.
            BadRequest, TypeError, ValueError: As ``Producer.send``.
            Closed, WrongLoop: The block is over, or this is another loop.
        """
        self._check()
        record = record_of(value, key, headers, tag, timestamp)
        weight = weight_of(record)
        if weight + BATCH_HEADER_BYTES > TRANSACTION_BYTES_MAX:
            raise TransactionTooLarge(
                f"a record of {weight} bytes; {TRANSACTION_BYTES_MAX} at most in a transaction"
            )
        size = self._bytes + weight
        if topic not in self._topics:
            size += BATCH_HEADER_BYTES
        if size > TRANSACTION_STAGED_BYTES_MAX:
            raise TransactionTooLarge(
                f"with this record there are {size} bytes in it; "
                f"{TRANSACTION_STAGED_BYTES_MAX} at most"
            )
        self._topics.add(topic)
        self._bytes = size
        self._sent.append(_Sent(topic, record, queue))

    def commit_offsets(
        self, consumer: Consumer, upto: Message | Iterable[Message] | None = None
    ) -> None:
        """Finish messages of a stream-style consumer: they, and what came before them.

        Call it first in the block: if anything fails after it, their queues are read again
        from what is committed, and the messages are handed out again.

        Args:
            consumer: Of this client, with ``auto_commit=False``.
            upto: A message, or several (of each queue the last one counts); None: everything
                that was handed out.

        Raises:
            BadRequest: The consumer commits by itself, or is another client's.
            Fenced: A queue is somebody else's now, or was read again since. The transaction is
                refused for it, also if the block goes on, and all these queues are read again.
            CrossShard: It reads in another shard than this transaction writes.
            Closed, WrongLoop: As ``send``.
        """
        self._part_of(consumer).add(upto)

    def _commit_handed(self, consumer: Consumer, handed: Iterable[Message]) -> None:
        """Finish all that a thread was given: the last ones of each queue, and what refuses it."""
        self._part_of(consumer).add_unfinished(handed)

    def _part_of(self, consumer: Consumer) -> Finished:
        self._check()
        finished = self._finished.get(consumer) or Finished(consumer)
        self._check_asker(finished.asker, "consumer")
        self._finished[consumer] = finished
        return finished

    def ack(self, message: QueueMessage) -> None:
        """Acknowledge a message of a queue-style group at the end of the block.

        It is settled by the transaction then, whether ``message.process()`` ends inside the
        block or after it. If the transaction fails, a message whose ``process()`` has ended is
        given back as that does for the same error; any other is as it was before. If its
        outcome is unknown, so is the message's, until the fence has answered.

        Raises:
            BadRequest: It was settled already, is in another transaction, or its consumer is
                another client's.
            CrossShard, Closed, WrongLoop: As ``commit_offsets``.
        """
        self._check()
        holder = message._holder
        if not isinstance(holder, QueueConsumer):
            raise BadRequest(f"{message!r} is of no consumer that can be in a transaction")
        self._check_asker(holder._asker, "message's consumer")
        self._acked.add(holder, message)

    def _committed_of(self, consumer: Consumer) -> dict[tuple[str, int], int]:
        """Return up to where a consumer's queues are committed, by topics and places."""
        finished = self._finished.get(consumer)
        return finished.offsets if finished is not None and self._is_committed else {}

    def _places_again(self, consumer: Consumer) -> list[tuple[str, int]]:
        """Return topics and places of a consumer's queues that are read again: it has failed."""
        finished = self._finished.get(consumer)
        return finished.places if finished is not None and self._has_failed else []

    def _check(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoop("this transaction is bound to the event loop that it was made on")
        if self._is_over:
            raise Closed("the transaction is over; make another one with client.atomic()")
        if not self._is_begun:
            raise BadRequest("a transaction begins with 'async with'")

    def _check_asker(self, asker: Asker, whose: str) -> None:
        own = self._dispatch.asker
        if asker.shard != own.shard:
            topics = ", ".join(sorted(self._topics)) or "none yet"
            raise CrossShard(
                f"the {whose} is of shard {asker.shard}, the topics of this transaction "
                f"({topics}) are of shard {own.shard}"
            )
        if asker.router is not own.router:
            raise BadRequest(f"the {whose} was made by another client than this transaction")

    # -- the commit

    async def _commit(self, begun: Callable[[Attempt], None]) -> None:
        if not (self._sent or self._finished or self._acked):
            return
        deadline = self._loop.time() + self._timeout_s
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(deadline):
                    # In the same order in all transactions: two of them that hold one consumer
                    # each, and wait for the other one's, would wait until their time is over.
                    for finished in sorted(
                        self._finished.values(), key=lambda each: id(each.consumer)
                    ):
                        await stack.enter_async_context(finished.held())
            except TimeoutError:
                raise Unavailable("a consumer was changing its queues for too long") from None
            await self._commit_held(begun, deadline)

    async def _commit_held(self, begun: Callable[[Attempt], None], deadline: float) -> None:
        """Commit while every consumer keeps still."""
        queues = await self._find_queues(deadline, refresh=False)
        turn = self._dispatch.turn = self._dispatch.turn + 1
        while True:
            batches, places = self._pack(queues, turn)
            once = bool(batches)
            offsets = [each for one in self._finished.values() for each in one.requests(once=once)]
            attempt = Attempt(
                batches, offsets, self._acked.requests(), partial(self._receipts, places)
            )
            if not (batches or offsets or attempt.acks):
                return
            begun(attempt)
            for finished in self._finished.values():
                finished.begins(attempt)
            try:
                committed = await self._dispatch.commit(attempt, deadline, self._codec)
            except WrongQueue:  # nothing was committed: perhaps a topic was made anew
                found = await self._find_queues(deadline, refresh=True)
                if found == queues or attempt.loose:
                    raise
                queues = found
                continue
            self._succeeded(committed, places)
            return

    async def _find_queues(self, deadline: float, *, refresh: bool) -> dict[str, Queues]:
        find = self._catalog.refresh if refresh else self._catalog.find
        found: dict[str, Queues] = {}
        for topic in self._topics:
            found[topic] = await find(topic, max(deadline - self._loop.time(), 0.001))
        return found

    def _pack(self, queues: dict[str, Queues], turn: int) -> tuple[list[ToSend], list[_Place]]:
        """Return what goes to each queue, and where each send is in that."""
        counts: Counter[int] = Counter()
        places: list[_Place] = []
        for sent in self._sent:
            numbers, key = queues[sent.topic], sent.record.key
            if sent.queue is not None:
                if not 0 <= sent.queue < len(numbers):
                    raise no_queue(sent.topic, len(numbers), sent.queue)
                place = sent.queue
            elif key is not None:
                place = place_of_key(key, len(numbers))
            else:
                place = turn % len(numbers)
            queue = numbers[place]
            places.append(_Place(place, queue, counts[queue]))
            counts[queue] += 1
        records = (sent.record for sent in self._sent)
        return pack(zip((at.queue for at in places), records, strict=True)), places

    # -- its end

    def _succeeded(self, committed: Committed, places: list[_Place]) -> None:
        self._is_committed = True
        self.receipts = self._receipts(places, committed)
        for finished in self._finished.values():
            finished.committed()
        self._acked.committed()

    def _receipts(self, places: list[_Place], committed: Committed) -> tuple[Receipt, ...]:
        bases = committed.base_offsets
        return tuple(
            Receipt(
                *(sent.topic, at.place, _offset_of(bases[at.queue], at.number)),
                *(Term(committed.term), Index(committed.index)),
                *(committed.durability, committed.duplicate),
            )
            for sent, at in zip(self._sent, places, strict=True)
        )

    def _failed(self, attempt: Attempt | None, failure: BaseException) -> None:
        """It was not committed, or nobody knows yet."""
        self._has_failed = True
        for finished in self._finished.values():
            waiting = finished.go_back()
            self._dispatch.spawn(finished.read_again(waiting))
        self._acked.failed(attempt, failure)


def _offset_of(base: int, number: int) -> Offset:
    """Return the offset of a record, by that of its part."""
    return GONE if base == GONE else Offset(base + number)
