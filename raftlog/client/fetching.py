"""Reading ahead: one task for each queue, one inbox for whoever takes.

::

    fetch (queue 0) --\
    fetch (queue 1) ---+--> inbox (bounded, in order of arrival) --> reader, consumer
    fetch (queue 2) --/

A fetch asks for more as long as less of its queue is in the inbox than its share.
Records of one queue stay in order; nothing is said about two queues.

With a filter a fetch gets over what does not match: a ``Passed`` in the inbox says up to
where, when everything before it was taken.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    OffsetOutOfRange,
    PeerRefused,
    ProtocolError,
    RaftlogError,
    Refused,
    WrongQueue,
)
from raftlog.base.limits import KIB
from raftlog.client.asking import ANSWER_TIMEOUT_S, RETRY_PAUSE_S, Asker
from raftlog.client.reading import READ_BYTES, split_answer
from raftlog.client.receipts import StoredBatch
from raftlog.wire.filters import EVERYTHING, RecordFilter
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

FOLLOW_WAIT_S: Final = 5.0
CROWDED_WAIT_S: Final = 1.0
"""Instead, where more queues are read than may be waited for at once: each has its turn."""
READ_BYTES_MIN: Final = 64 * KIB

Batches = tuple[StoredBatch, ...]


class Skip(NamedTuple):
    """Records that are gone: nothing was read from ``offset`` up to ``to``."""

    offset: int
    to: int


class Passed:
    """Nothing that is wanted lies before ``to``. Grows until it is taken: one for each fetch."""

    __slots__ = ("to",)

    def __init__(self, to: int) -> None:
        self.to = to


class Told(NamedTuple):
    """Who is told what happens to a fetch."""

    on_wrong_queue: Callable[["Fetch"], Awaitable[RaftlogError | None]]
    """Asked when a queue is not known to a node: None to try again, or why it is over."""
    on_skip: Callable[["Fetch", int, int], None]
    """Told from where to where was skipped, when everything before it was taken."""
    on_passed: Callable[["Fetch", int], None]
    """Told up to where nothing that is wanted lies, when everything before it was taken."""


class Inbox:
    """What was read and not taken yet. Bound to its loop.

    Args:
        bytes_max: Of all fetches together, about; each may read at least once.
    """

    def __init__(self, bytes_max: int) -> None:
        self.applied = 0
        """The highest applied index that was seen: reads never go back behind it."""
        self.last_error: RaftlogError | None = None
        """Why the last question was not answered; None after an answer."""
        self._bytes_max = bytes_max
        self._items: deque[tuple[Fetch, Batches | Skip | Passed | RaftlogError]] = deque()
        self._fetches: set[Fetch] = set()
        self._ending: list[Fetch] = []
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self.is_closed = False

    @property
    def share(self) -> int:
        """Bytes of the inbox for one queue."""
        return self._bytes_max // max(len(self._fetches), 1)

    @property
    def is_over(self) -> bool:
        """Whether nothing is here and nothing will come."""
        return self.is_closed or (not self._items and not self._fetches)

    @property
    def has_items(self) -> bool:
        """Whether ``take`` has something to give or to raise."""
        return bool(self._items)

    def add(self, fetch: "Fetch") -> None:
        """A fetch begins."""
        self._fetches.add(fetch)

    def remove(self, fetch: "Fetch", *, with_items: bool) -> None:
        """A fetch has ended."""
        self._fetches.discard(fetch)
        if with_items:
            self._items = deque(item for item in self._items if item[0] is not fetch)
        self._taken.set()
        self._arrived.set()

    def put(self, fetch: "Fetch", what: Batches | Skip | Passed | RaftlogError) -> None:
        """Something arrived."""
        self._items.append((fetch, what))
        self._arrived.set()

    async def room(self, fetch: "Fetch") -> None:
        """Wait until ``fetch`` may read more."""
        while fetch.buffered and fetch.buffered >= self.share:
            self._taken.clear()
            await self._taken.wait()

    def take(self) -> "tuple[Fetch, Batches] | None":
        """Return the oldest batches, if there are any.

        Raises:
            RaftlogError: What ended a fetch, when everything before it was taken; again
                and again, until the fetch is removed.
        """
        while self._items:
            fetch, what = self._items[0]
            if isinstance(what, RaftlogError):
                raise what
            self._items.popleft()
            if isinstance(what, Skip):  # what was read before it was taken before it
                fetch.skipped(what)
                continue
            if isinstance(what, Passed):
                fetch.passed(what)
                continue
            fetch.buffered -= sum(len(batch.data) for batch in what)
            self._taken.set()
            return fetch, what
        return None

    def put_back(self, fetch: "Fetch", error: RaftlogError) -> None:
        """What was taken cannot be opened: ``take`` raises why, until the fetch is removed."""
        self._items.appendleft((fetch, error))

    async def arrival(self) -> None:
        """Wait until something is here, or there is a reason to look why not."""
        if not self._items and not self.is_closed:
            self._arrived.clear()
            await self._arrived.wait()

    def poke(self) -> None:
        """Let whoever waits look again."""
        self._arrived.set()

    def close(self) -> None:
        """Stop every fetch; whoever waits is let go."""
        self.is_closed = True
        self._ending = list(self._fetches)
        for fetch in self._ending:
            fetch.stop()
        self._arrived.set()

    async def ended(self) -> None:
        """Wait for the end of what ``close`` has stopped."""
        await asyncio.gather(*(fetch.ended() for fetch in self._ending), return_exceptions=True)


class Fetch:
    """Reads one queue ahead. Begins at once; bound to its loop.

    Args:
        asker: Asks a node that may answer.
        inbox: Where batches go.
        where: Topic, place and number of the queue.
        offset: Where to begin.
        told: Who is told of what happens.
        end: Where to stop; None: never.
        skips: Go on after records that are gone, instead of ending with an error.
        wanted: Which records are wanted.
    """

    def __init__(
        self,
        asker: Asker,
        inbox: Inbox,
        where: tuple[str, int, int],
        offset: int,
        *,
        told: "Told",
        end: int | None = None,
        skips: bool = False,
        wanted: RecordFilter = EVERYTHING,
    ) -> None:
        self.topic, self.place, self.number = where
        self.start = offset
        """Messages below it are not wanted, although their batch comes."""
        self.end_offset = 0
        """The queue's end, as the last answer said."""
        self.buffered = 0
        self._asker = asker
        self._inbox = inbox
        self._offset = offset
        self._end = end
        self._skips = skips
        self._told = told
        self._filter = (
            client.RecordFilter(tags=wanted.tags, condition=wanted.condition) if wanted else None
        )
        self._passing: Passed | None = None
        """The last thing that this fetch has put into the inbox, if it is that."""
        self.is_stopped = False
        inbox.add(self)
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Read no more, and forget what was read and not taken."""
        if not self.is_stopped:
            self.is_stopped = True
            self._task.cancel()
            self._inbox.remove(self, with_items=True)

    async def ended(self) -> None:
        """Wait for the end of its task."""
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._end is None or self._offset < self._end:
            await self._inbox.room(self)
            try:
                await self._read()
            except OffsetOutOfRange as error:
                if not self._skip(error):
                    self._inbox.put(self, lost(error, self.topic, self.place))
                    return
            except WrongQueue:
                reason = await self._told.on_wrong_queue(self)
                if reason is not None:
                    self._inbox.put(self, reason)
                    return
                await asyncio.sleep(RETRY_PAUSE_S)
            except (Refused, PeerRefused) as error:
                self._inbox.put(self, error)
                return
            except RaftlogError as error:
                self._inbox.last_error = error
                if self._end is not None:  # somebody waits for an end
                    self._inbox.put(self, error)
                    return
                await asyncio.sleep(RETRY_PAUSE_S)
        self._inbox.remove(self, with_items=False)

    async def _ask(self) -> tuple[client.BatchesRead, Buffer]:
        inbox, long_polls = self._inbox, self._asker.router.long_polls
        async with long_polls:
            wait_s = CROWDED_WAIT_S if long_polls.locked() else FOLLOW_WAIT_S
            return await self._asker.ask(
                Method.READ,
                client.ReadBatches(
                    queue=self.number,
                    offset=self._offset,
                    bytes_max=min(max(inbox.share, READ_BYTES_MIN), READ_BYTES),
                    wait_ms=int(wait_s * 1000),
                    session_applied=inbox.applied,
                    staleness_ms=self._asker.staleness_ms,
                    filter=self._filter,
                ),
                client.BatchesRead,
                timeout_s=max(self._asker.timeout_s, wait_s + ANSWER_TIMEOUT_S),
                wait_s=wait_s,
            )

    async def _read(self) -> None:
        inbox = self._inbox
        answer, payload = await self._ask()
        inbox.last_error = None
        inbox.applied = max(inbox.applied, answer.applied)
        self.end_offset = answer.end_offset
        batches = split_answer(answer, payload, self.topic, self.place)
        if self._end is not None and batches and batches[-1].base_offset >= self._end:
            batches = tuple(batch for batch in batches if batch.base_offset < self._end)
        if batches:
            last = batches[-1]
            after = last.base_offset + last.count
            if after <= self._offset:
                raise ProtocolError(f"a read from {self._offset} gave batches before it")
            self._offset = after
            self.buffered += sum(len(batch.data) for batch in batches)
            self._passing = None
            inbox.put(self, batches)
        if self._filter is not None:
            self._pass(answer)

    def _pass(self, answer: client.BatchesRead) -> None:
        """Go on behind what was looked at for nothing."""
        if not answer.HasField("next_offset"):
            raise ProtocolError("a node that does not filter has answered a read with a filter")
        to = answer.next_offset if self._end is None else min(answer.next_offset, self._end)
        if to <= self._offset:
            return
        self._offset = to
        if self._passing is not None:
            self._passing.to = to
        else:
            self._passing = Passed(to)
            self._inbox.put(self, self._passing)

    def _skip(self, error: OffsetOutOfRange) -> bool:
        """Go on where there are records, if that is wished."""
        if not self._skips:
            return False
        to = error.start if error.offset < error.start else error.end
        self._passing = None
        self._inbox.put(self, Skip(self._offset, to))
        self._offset = to
        return True

    def skipped(self, skip: Skip) -> None:
        """Whoever takes has come to where records are gone."""
        self.start = skip.to
        self._told.on_skip(self, skip.offset, skip.to)

    def passed(self, passed: Passed) -> None:
        """Whoever takes has come to where nothing is wanted."""
        if self._passing is passed:
            self._passing = None
        self.start = max(self.start, passed.to)
        self._told.on_passed(self, passed.to)


def lost(error: OffsetOutOfRange, topic: str, place: int) -> OffsetOutOfRange:
    """Return the error with the queue in its text: what a slow consumer is told."""
    told = OffsetOutOfRange(error.offset, error.start, error.end)
    where = f"queue {place} of topic {topic!r}"
    if error.offset < error.start:
        gap = f"records {error.offset} to {error.start - 1} of {where} are forgotten by retention"
        told.args = (f"{gap}; go on from {error.start}, or use on_lost='skip'",)
    else:
        told.args = (f"{where} ends at {error.end}, before offset {error.offset}",)
    return told
