"""The reader: all records of a topic, or of one queue, in no group."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from raftlog.base.errors import Closed, RaftlogError, TopicNotFound, WrongLoop, WrongQueue
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog
from raftlog.client.durations import Duration, seconds
from raftlog.client.fetching import Fetch, Inbox, Told
from raftlog.client.receipts import Message, StoredBatch
from raftlog.client.starting import Start, check_start, described_queues, start_offsets
from raftlog.wire.filters import EVERYTHING, RecordFilter

__all__ = ["Reader", "ReaderStatus", "Start"]


class ReaderStatus(msgspec.Struct, frozen=True):
    """How far a reader is.

    Attributes:
        positions: By queue's place: the offset of the next record to hand out.
        skipped: Records that were gone before they were read (``on_lost="skip"``).
        last_error: Why the last question was not answered; None while all is well.
    """

    positions: Mapping[int, int]
    skipped: int
    last_error: RaftlogError | None


class Reader:
    """Reads a topic. Made by ``Client.reader``; bound to its loop.

    Records of one queue come in order. Take them one by one (``async for``), some at
    a time (``poll``) or as they are stored (``batches``); all three share one position.
    """

    def __init__(  # noqa: PLR0913  (one option for each thing that a reader may want otherwise)
        self,
        asker: Asker,
        catalog: Catalog,
        topic: str,
        *,
        queue: int | None,
        start: Start,
        follow: bool,
        on_lost: str,
        buffer_bytes: int,
        wanted: RecordFilter = EVERYTHING,
    ) -> None:
        check_start(start)
        if on_lost not in ("error", "skip"):
            raise ValueError(f"on_lost is {on_lost!r}; there are 'error' and 'skip'")
        self.topic: Final = topic
        self._loop: Final = asyncio.get_running_loop()
        self._asker = asker
        self._catalog = catalog
        self._queue = queue
        self._start = start
        self._follow = follow
        self._skips = on_lost == "skip"
        self._wanted = wanted
        self._inbox = Inbox(buffer_bytes)
        self._opening: asyncio.Task[None] | None = None
        self._positions: dict[int, int] = {}
        self._skipped = 0
        self._batches: Iterator[StoredBatch] = iter(())
        self._messages: Iterator[Message] = iter(())
        self._fetch: Fetch | None = None
        """What has read ``_batches``."""
        self._is_closed = False
        self.on_closed: Callable[[Any], None] = _nobody

    async def __aenter__(self) -> Self:
        """Find the start; raises ``TopicNotFound``, ``WrongQueue`` or ``Unavailable``."""
        try:
            await self._open()
        except BaseException:  # it is not entered, so nobody leaves it
            self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    def __del__(self) -> None:
        """Complain about a reader that was forgotten while it reads ahead."""
        if not getattr(self, "_is_closed", True) and self._opening is not None:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    def __aiter__(self) -> Self:
        """Iterate over messages; see ``__anext__``."""
        return self

    async def __anext__(self) -> Message:
        """Return the next message; wait for it, unless the reader does not follow.

        Raises:
            StopAsyncIteration: The end is reached (``follow=False``), or it was closed.
            OffsetOutOfRange: Records that were not read yet are gone (``on_lost="error"``);
                the text names them.
            TopicNotFound: The topic was deleted.
            BadBatch, CodecUnavailable: A batch can't be opened here.
            Unavailable: No leader within the client's timeout (``follow=False``; else it is
                tried on, and ``status`` shows why nothing comes).

        Cancelled, nothing is lost.
        """
        while (message := self._take()) is None:
            if not await self._more():
                raise StopAsyncIteration
        return message

    async def poll(self, count: int = 100, *, timeout: Duration = 1.0) -> list[Message]:
        """Return up to ``count`` messages; [] if none came within ``timeout`` seconds.

        Raises: as ``__anext__``, but [] at the end too.
        """
        found: list[Message] = []
        try:
            async with asyncio.timeout(seconds(timeout)):
                found.append(await anext(self))
        except (TimeoutError, StopAsyncIteration):
            await asyncio.sleep(0)  # else who polls on and on would keep it from closing
            return found
        with suppress(RaftlogError):  # the next one who asks is told: these come first
            while len(found) < count and (message := self._take()) is not None:
                found.append(message)
        return found

    async def batches(self) -> AsyncIterator[StoredBatch]:
        """Yield the stored batches: no object for each record.

        The first one of a queue may begin before the start that was asked for. With a filter
        those with a match come, and ``StoredBatch.matching`` tells which records match.

        Raises: as ``__anext__``; a batch that can't be opened is told by ``StoredBatch.open``.
        """
        while True:
            batch = self._take_batch()
            if batch is not None:
                self._positions[batch.queue] = batch.base_offset + batch.count
                yield batch
            elif not await self._more():
                return

    @property
    def status(self) -> ReaderStatus:
        """How far it is."""
        return ReaderStatus(dict(self._positions), self._skipped, self._inbox.last_error)

    async def aclose(self) -> None:
        """Close; iterations end. Idempotent."""
        if self._is_closed:
            return
        self._stop()
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)
        await self._inbox.ended()

    # -- inside

    def _stop(self) -> None:
        """End everything that goes on behind the scenes; whoever waits is let go."""
        self._is_closed = True
        self.on_closed(self)
        if self._opening is not None:
            self._opening.cancel()
        self._messages, self._batches = iter(()), iter(())
        self._inbox.close()

    def _take(self) -> Message | None:
        """Return the next message, if it is here already."""
        while True:
            message = self._open_next()
            if message is not None:
                self._positions[message.queue] = message.offset + 1
                return message
            batch = self._take_batch()
            if batch is None:
                return None
            self._messages = batch.messages(self._positions.get(batch.queue, 0))

    def _open_next(self) -> Message | None:
        try:
            return next(self._messages, None)
        except RaftlogError as error:
            assert self._fetch is not None, "something was read"
            self._inbox.put_back(self._fetch, error)  # never passed over in silence
            self._batches = iter(())
            raise

    def _take_batch(self) -> StoredBatch | None:
        batch = next(self._batches, None)
        if batch is None:
            found = self._inbox.take()
            if found is not None:
                self._fetch, self._batches = found[0], iter(found[1])
                batch = next(self._batches, None)
        return batch

    async def _more(self) -> bool:
        """Wait for more; return whether there can be any."""
        await self._open()
        if self._inbox.is_over:
            return self._inbox.has_items and not self._is_closed
        await self._inbox.arrival()
        return True

    async def _open(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise WrongLoop("this reader is bound to another event loop, thread or process")
        if self._is_closed:
            if self._opening is None:
                raise Closed("the reader was closed")
            return
        if self._opening is None:
            self._opening = self._loop.create_task(self._begin())
        await asyncio.wait([self._opening])
        if not self._opening.cancelled():
            self._opening.result()

    async def _begin(self) -> None:
        starts = await start_offsets(self._asker, self.topic, self._start, queue=self._queue)
        ends: dict[int, int] = {}
        if not self._follow:
            described = await described_queues(self._asker, self.topic, self._queue)
            ends = {place: each.end_offset for place, each in described.items()}
        for place, (number, offset) in starts.items():
            self._positions[place] = offset
            Fetch(
                self._asker.fetches,
                self._inbox,
                (self.topic, place, number),
                offset,
                end=None if self._follow else ends.get(place, 0),
                skips=self._skips,
                told=Told(self._is_gone, self._on_skip, self._on_passed),
                wanted=self._wanted,
            )

    def _on_passed(self, fetch: Fetch, to: int) -> None:
        self._positions[fetch.place] = max(to, self._positions[fetch.place])

    def _on_skip(self, fetch: Fetch, offset: int, to: int) -> None:
        self._skipped += max(to - offset, 0)
        self._positions[fetch.place] = to

    async def _is_gone(self, fetch: Fetch) -> RaftlogError | None:
        """A node does not know the queue: is the topic gone, or too new for that node?"""
        try:
            queues = await self._catalog.refresh(self.topic)
        except TopicNotFound as error:
            return error
        except RaftlogError:
            return None
        if fetch.number in queues:
            return None
        return WrongQueue(f"topic {self.topic!r} was deleted and created again; read it anew")


def _nobody(_: object) -> None:
    """Nobody wants to know."""
