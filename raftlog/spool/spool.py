"""The spool: ``send`` returns when a record is on this machine's disk; the cluster gets it once.

::

    async with Client(SEEDS) as client, Spool(client, "/var/lib/shop/spool") as spool:
        spooled = await spool.send("orders", b"v", key=b"k")  # durable here, cluster or not
        receipt = await spooled.stored()                      # if the cluster's word is wanted
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from weakref import WeakValueDictionary

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadRequest, Closed, NoRoom, OutcomeUnknown, RaftlogError, SpoolFull
from raftlog.base.names import check_name
from raftlog.client.client import Client
from raftlog.client.durations import Duration, seconds
from raftlog.client.forwarding import ClusterForwarding, Forwarding
from raftlog.client.packing import HeadersLike, check_size, record_of
from raftlog.client.receipts import Receipt
from raftlog.spool.contents import (
    Attempt,
    Contents,
    Held,
    Note,
    Spooled,
    TakenOut,
    decode_note,
    encode_note,
)
from raftlog.spool.forwarder import Forwarder
from raftlog.spool.frames import size_of_frame
from raftlog.spool.journal import Journal
from raftlog.spool.writer import Writer
from raftlog.storage.files import Files, OsFiles
from raftlog.wire.batch import Record

BYTES_MAX: Final = 256 << 20
_SEGMENT_BYTES_MAX: Final = 4 << 20
_SEGMENTS_MIN: Final = 8


class SpoolStatus(msgspec.Struct, frozen=True):
    """What a spool holds, and what hinders it.

    Attributes:
        records: That the cluster has not acknowledged.
        bytes: Of its files; ``SpoolFull`` counts these.
        oldest_age: Since the oldest of the records was sent; None: there is none.
        sent: Records acknowledged since the spool was opened.
        stuck: Topics whose records the cluster refuses, with its error: they wait for
            ``retry``, ``take_out`` or ``settle_by_hand``; those of other topics go on.
        trouble: Why nothing could be sent the last time (``NoRoom``: the disk is full);
            None while all is well.
    """

    records: int
    bytes: int
    oldest_age: timedelta | None
    sent: int
    stuck: dict[str, RaftlogError]
    trouble: Exception | None


class TakenRecord(msgspec.Struct, frozen=True):
    """A record that was taken out. ``may_be_stored``: it was sent, and nobody can say."""

    topic: str
    queue: int | None
    record: Record
    may_be_stored: bool


class SpooledRecord:
    """A record that is on this machine's disk: the cluster gets it once.

    Attributes:
        topic: Its topic.
        number: Rises with each record of the spool; unique in it.
    """

    __slots__ = ("_future", "number", "topic")

    def __init__(self, topic: str, number: int, future: "asyncio.Future[Receipt]") -> None:
        self.topic = topic
        self.number = number
        self._future = future

    async def stored(self, *, timeout: Duration | None = None) -> Receipt:
        """Wait until the cluster has it; return the receipt.

        Raises:
            TimeoutError: Not in time; it stays in the spool.
            Closed: The spool was closed before; it stays on disk.
            DuplicateForgotten: It is stored, but nobody knows where.
            BadRequest: It was taken out, or settled by hand.
        """
        async with asyncio.timeout(None if timeout is None else seconds(timeout)):
            return await asyncio.shield(self._future)

    @property
    def is_stored(self) -> bool:
        """Whether the cluster has it, as far as is known here."""
        future = self._future
        return future.done() and not future.cancelled() and future.exception() is None


class Spool:
    """Records on their way to the cluster, in a directory. Bound to the loop that opens it.

    Args:
        client: A client of the cluster; it is not closed with the spool.
        directory: Of this spool alone; it is made. One spool has it open at a time.
        bytes_max: Its files take so much, about; beyond it ``send`` raises ``SpoolFull``.
        files: For tests.
        now_ms: For tests.
        cluster: For tests; instead of the client's.

    Opening it (``async with``) reads what is there, and goes on with it.

    Raises (when opened):
        DirectoryLocked: Another process, or another spool of this one, has it open.
        DirectoryForeign: There is something else in it.
        DamagedLog: Something that was promised can't be read any more; nothing was changed.
        NoRoom: The disk is full; nothing is lost. Open another one when it has room.
        StorageFailed: The disk refuses.
    """

    def __init__(
        self,
        client: Client,
        directory: str | Path,
        *,
        bytes_max: int = BYTES_MAX,
        files: Files | None = None,
        now_ms: Callable[[], int] | None = None,
        cluster: Forwarding | None = None,
    ) -> None:
        if bytes_max < 1:
            raise ValueError(f"a spool of {bytes_max} bytes; 1 or more")
        self._cluster: Final = cluster or ClusterForwarding(client._asker, client._catalog)
        self._directory: Final = str(directory)
        self._bytes_max: Final = bytes_max
        self._files: Final = files or OsFiles()
        self._now_ms: Final = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._contents: Final = Contents()
        self._futures: WeakValueDictionary[int, asyncio.Future[Receipt]] = WeakValueDictionary()
        """Of those who may ask: a record that nobody waits for costs no memory here."""
        self._journal: Journal
        self._writer: Writer
        self._forwarder: Forwarder
        self._task: asyncio.Task[None] | None = None
        self._is_opened = self._is_closed = False

    async def __aenter__(self) -> Self:
        """Open it, and go on with what is there."""
        if self._is_opened:
            raise Closed("a spool is opened once; make another one")
        self._is_opened = True
        self._journal = await asyncio.to_thread(
            Journal.open,
            self._files,
            self._directory,
            max(1, min(_SEGMENT_BYTES_MAX, self._bytes_max // _SEGMENTS_MIN)),
        )
        try:
            await asyncio.to_thread(self._load)
        except BaseException:
            self._journal.close()
            raise
        self._writer = Writer(self._journal, self._contents)
        self._forwarder = Forwarder(
            *(self._cluster, self._journal, self._writer, self._contents),
            *(self._told, self._now_ms),
        )
        self._task = asyncio.create_task(self._forward())
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
        """Stop sending, and let go of the directory; what is not stored stays there. Idempotent.

        ``flush`` before it waits for the cluster.

        Raises:
            NoRoom: The disk is full; what was in the spool is in it all the same.
            StorageFailed: The disk refuses.
        """
        if self._is_closed or self._task is None:
            return
        self._is_closed = True
        self._task.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await self._task
        finally:
            try:
                await self._writer.aclose()
            finally:
                text = (
                    "the spool was closed; the record is in it, and sent when it is opened again"
                )
                self._end(self._futures, Closed(text))
                self._forwarder.changed.set()

    # -- sending

    async def send(
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
    ) -> SpooledRecord:
        """Return when the record is on this machine's disk; no cluster has to be there.

        The arguments are those of ``Producer.send``.
        Records of one key, or one explicit queue, are stored in the order in which ``send`` was
        called. Sends that run at once share a sync. Cancelled, it may be spooled all the same.

        Raises:
            SpoolFull: No room in the spool, or on its disk; nothing was written.
            BadName, BadRequest, RecordTooLarge, TypeError: No cluster takes it.
            StorageFailed: The disk refuses; it may be spooled. Open the spool again.
            Closed: The spool is not open.
        """
        self._check()
        check_name(topic)
        record = record_of(value, key, headers, tag, timestamp, id)
        queue = None if queue is None else int(index(queue))
        if queue is not None and queue < 0:
            raise BadRequest(f"queue {queue}; 0 or more")
        now_ms = self._now_ms()
        note = Spooled(
            *(topic, queue, now_ms, record.value, record.key, tuple(record.headers)),
            *(record.timestamp_ms or now_ms, record.tag, record.id),
        )
        check_size(note.record)  # as it is sent: with a time
        data = encode_note(note)
        used = self._journal.bytes + self._writer.waiting_bytes
        if used + size_of_frame(data) > self._bytes_max:
            raise SpoolFull(
                f"the spool holds {self._contents.count} records in {used} bytes, and may take "
                f"{self._bytes_max}"
            )
        try:
            (place,) = await self._writer.write([note], [data])
        except NoRoom as error:
            raise SpoolFull(f"the disk is full: {error}") from error
        spooled = SpooledRecord(topic, place.number, self._future(place.number))
        self._forwarder.wake()
        return spooled

    async def flush(self, *, timeout: Duration | None = None) -> None:
        """Wait until the cluster has everything that is in the spool now.

        Raises:
            TimeoutError: Not in time; nothing is given up.
            Closed: The spool was closed meanwhile.
            RaftlogError: A topic stands still, or the sending has ended; ``status`` has it, too.
        """
        self._check()
        last = max(self._contents.numbers(), default=0)
        changed = self._forwarder.changed
        async with asyncio.timeout(None if timeout is None else seconds(timeout)):
            while (oldest := self._contents.oldest) is not None and oldest.at.number <= last:
                self._check()
                for error in self._forwarder.stuck.values():
                    raise error
                if self._task is not None and self._task.done():
                    raise self._forwarder.trouble or Closed("the sending has ended")
                changed.clear()
                await changed.wait()

    # -- what stands still

    async def retry(self, topic: str) -> None:
        """Send the records of a stuck topic again: what hindered them is gone.

        Raises:
            BadRequest: It is not stuck, or nobody knows whether they are stored.
        """
        with self._in_hand(topic) as error:
            if isinstance(error, OutcomeUnknown):
                raise BadRequest("some may be stored: look, then call settle_by_hand")
            self._forwarder.let_go(topic)

    async def in_doubt(self, topic: str) -> dict[int, list[Record]]:
        """Return the records for which a topic stands still with ``OutcomeUnknown``.

        By the place of the queue that they were sent to, in order: each queue has all of its
        records, or none.

        Raises:
            BadRequest: The topic does not stand still, or somebody settles it just now.
            StorageError: The spool's disk fails, or lies.
        """
        with self._in_hand(topic):
            doubts = self._forwarder.doubts.of(topic)
            found = {}
            for queue in sorted(doubts):
                notes = await self._read(self._contents.held(doubts[queue]))
                found[queue] = [note.record for note in notes]
            return found

    async def settle_by_hand(self, topic: str, queue: int, *, stored: bool) -> None:
        """Say what became of records that were sent so long ago that the cluster can't.

        Args:
            topic: That stands still with ``OutcomeUnknown``.
            queue: The place of the queue that they were sent to, as the error says.
            stored: They are in that queue; else they are sent again.

        Raises:
            BadRequest: It does not, or not for records of that queue.
            NoRoom: The spool's disk is full; nothing was settled.
            StorageError: It fails, or lies.
        """
        with self._in_hand(topic) as error:
            if not isinstance(error, OutcomeUnknown):
                raise BadRequest(f"the cluster can tell what became of the records for {topic!r}")
            attempt = self._forwarder.doubts.of(topic).get(queue)
            if attempt is None:
                raise BadRequest(f"queue {queue} of {topic!r} has no records in doubt: {error}")
            note = self._contents.stored if stored else self._contents.gave_back
            numbers = attempt.numbers if stored else ()
            text = "it was settled by hand: it is stored, nobody knows where"
            ending = self._end_standstill(topic, [attempt], [note(attempt)], numbers, text)
            await _to_its_end(ending)

    @asynccontextmanager
    async def take_out(self, topic: str) -> AsyncIterator[list[TakenRecord]]:
        """Give all records of a stuck topic, in order; remove them when the block has ended.

        ::

            async with spool.take_out("gone") as records:
                await keep(records)  # durably: at the end of the block they leave the spool

        A block that ends by an error, or is cancelled, removes nothing; nor does a program that
        ends in it. So a record is here or with the caller; after a failure perhaps in both.

        Raises:
            BadRequest: It is not stuck.
            Closed: The spool was closed before the block had ended; nothing is removed.
            NoRoom: At the end of the block: the disk is full; the spool has them all still.
            StorageError: The spool's disk fails, or lies. At the end of the block: the caller
                has the records, the spool may still have them, too.
        """
        contents = self._contents
        with self._in_hand(topic):
            attempts = contents.attempts_of(topic)
            sent = {number for each in attempts for number in each.numbers}
            held = contents.of_topic(topic)
            notes = await self._read(held)
            numbers = [each.at.number for each in held]
            yield [
                TakenRecord(note.topic, note.place, note.record, number in sent)
                for number, note in zip(numbers, notes, strict=True)
            ]
            self._check()
            gone: list[Note] = [contents.stored(each) for each in attempts]
            gone.append(TakenOut(tuple(number for number in numbers if number not in sent)))
            text = "the record was taken out of the spool"
            await _to_its_end(self._end_standstill(topic, attempts, gone, numbers, text))

    @property
    def status(self) -> SpoolStatus:
        """What it holds, and what hinders it."""
        oldest, age = self._contents.oldest, None
        if oldest is not None:
            age = timedelta(milliseconds=max(0, self._now_ms() - oldest.made_ms))
        return SpoolStatus(
            *(self._contents.count, self._journal.bytes, age, self._forwarder.sent),
            *(dict(self._forwarder.stuck), self._forwarder.trouble),
        )

    # -- inside

    async def _end_standstill(
        self,
        topic: str,
        ended: Sequence[Attempt],
        notes: Sequence[Note],
        numbers: Sequence[int],
        text: str,
    ) -> None:
        """Write down what became of a topic's batches and records; ``numbers`` are gone."""
        await self._writer.write(notes)
        self._forwarder.let_go(topic, ended)
        self._end(numbers, BadRequest(text))
        with suppress(NoRoom):  # it is settled, and the files go with the next ones
            await self._forwarder.clear_up()

    async def _read(self, held: Sequence[Held]) -> list[Spooled]:
        """Read records of a topic that is in somebody's hand: their files stay."""
        notes = await self._writer.do(
            lambda: [decode_note(self._journal.read(each.at)) for each in held]
        )
        return [note for note in notes if isinstance(note, Spooled)]

    def _load(self) -> None:
        self._contents.load(self._journal.first, self._journal.notes())

    async def _forward(self) -> None:
        try:
            await self._forwarder.run()
        except RaftlogError as error:  # it stays so until the spool is opened again
            self._forwarder.trouble = error
            self._end(self._futures, error)
        finally:
            self._forwarder.changed.set()

    def _told(self, number: int, result: Receipt | RaftlogError) -> None:
        if isinstance(result, RaftlogError):
            self._end([number], result)
        elif (future := self._futures.pop(number, None)) is not None and not future.done():
            future.set_result(result)

    def _end(self, numbers: Iterable[int], error: RaftlogError) -> None:
        for number in list(numbers):
            future = self._futures.pop(number, None)
            if future is not None and not future.done():
                future.set_exception(error)
                future.exception()  # read, or asyncio complains that nobody did

    def _future(self, number: int) -> "asyncio.Future[Receipt]":
        future = self._futures.get(number)
        if future is None:
            future = self._futures[number] = asyncio.get_running_loop().create_future()
        return future

    @contextmanager
    def _in_hand(self, topic: str) -> Iterator[RaftlogError]:
        """Keep a topic that stands still as it is; give why it does."""
        self._check()
        forwarder = self._forwarder
        error = forwarder.stuck.get(topic)
        if error is None or topic in forwarder.in_hand:
            raise BadRequest(f"the records for {topic!r} do not stand still")
        forwarder.in_hand.add(topic)
        try:
            yield error
        finally:
            forwarder.in_hand.discard(topic)

    def _check(self) -> None:
        if self._is_closed or self._task is None:
            raise Closed("the spool is not open")


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do something that is not left half done: who is cancelled meanwhile waits for it."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # read, or asyncio complains that nobody did
        raise
