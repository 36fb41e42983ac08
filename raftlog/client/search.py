"""Searching a topic: which records have a key, an id, a tag or headers, between two positions.

::

    search = client.messages.search("orders", key=b"o-17", start=timedelta(hours=-1))
    async for message in search:
        ...

A node looks through a bounded stretch for each question and says how far it came, so
a search of a large topic makes progress that can be seen, and ends when nobody asks on.
"""

from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from raftlog.base.errors import OffsetOutOfRange, ProtocolError
from raftlog.base.ids import Offset
from raftlog.client.asking import Asker
from raftlog.client.reading import READ_BYTES, split_answer
from raftlog.client.receipts import Message
from raftlog.client.starting import Start, check_start, described_queues, start_offsets
from raftlog.client.stepping import Stepping
from raftlog.wire.frame import Method
from raftlog.wire.schema import client
from raftlog.wire.schema import search as messages
from raftlog.wire.searches import RecordSearch


class SearchProgress(msgspec.Struct, frozen=True):
    """How far a search is.

    Attributes:
        looked_at: Records that were looked at.
        total: Records that are to be looked at, as far as that is known: 0 before the first
            answer.
        found: Records that matched.
        skipped: Records that retention took away before they were looked at.
        positions: By queue's place: everything between the start and this offset was looked at.
    """

    looked_at: int
    total: int
    found: int
    skipped: int
    positions: Mapping[int, int]


class SearchBounds(msgspec.Struct, frozen=True):
    """Where a search looks, and when it ends."""

    start: Start
    end: Start
    queue: int | None
    limit: int | None
    timeout_s: float
    """For one question."""


class _Stretch(msgspec.Struct):
    """What is left to be looked at of one queue."""

    place: int
    number: int
    offset: int
    end: int


class Search(Stepping[Message]):
    """One search: an iterator over what matches, queue by queue, in the order of offsets.

    Made by ``Messages.search``. Iterating, and ``step``, raise also:

    - ``TopicNotFound``, ``WrongQueue``: there is no such topic, or it has no such queue.
    - ``NotPermitted``: the topic may not be read by its settings.
    - ``BadBatch``, ``CodecUnavailable``: a batch can't be looked into, here or on the node: what
      it holds is not passed over in silence.
    - ``FaultyEntry``: a batch is damaged on the node, and no other one has it.
    """

    def __init__(
        self,
        asker: Asker,
        topic: str,
        search: RecordSearch,
        bounds: SearchBounds,
        on_progress: Callable[[SearchProgress], None] | None = None,
    ) -> None:
        super().__init__()
        check_start(bounds.start)
        check_start(bounds.end)
        self._asker = asker
        self._topic = topic
        self._search = search
        self._bounds = bounds
        self._on_progress = on_progress
        self._left: deque[_Stretch] | None = None
        """None: nothing was asked yet."""
        self._positions: dict[int, int] = {}
        self._looked_at = self._total = self._matched = self._skipped = 0

    @property
    def progress(self) -> SearchProgress:
        """How far it is."""
        return SearchProgress(
            *(self._looked_at, self._total, self._matched, self._skipped),
            dict(self._positions),
        )

    # -- inside

    async def _advance(self) -> bool:
        """Ask one question, unless all was looked at, or enough was found."""
        if self._left is None:
            self._left = await self._plan()
        limit = self._bounds.limit
        if not self._left or (limit is not None and self._matched >= limit):
            return False
        stretch = self._left[0]
        await self._look(stretch)
        self._positions[stretch.place] = stretch.offset
        if stretch.offset >= stretch.end:
            self._left.popleft()
        if self._on_progress is not None:
            self._on_progress(self.progress)
        return True

    async def _plan(self) -> deque[_Stretch]:
        """Find out from where to where to look in each queue."""
        asker, topic, bounds = self._asker, self._topic, self._bounds
        queue, timeout_s = bounds.queue, bounds.timeout_s
        starts = await start_offsets(asker, topic, bounds.start, queue=queue, timeout_s=timeout_s)
        ends = await start_offsets(asker, topic, bounds.end, queue=queue, timeout_s=timeout_s)
        described = await described_queues(asker, topic, queue, timeout_s)
        stretches: deque[_Stretch] = deque()
        for place, each in described.items():
            if place not in starts or place not in ends:
                continue  # the topic got it while this was asked
            offset = max(starts[place][1], each.start_offset)
            end = min(ends[place][1], each.end_offset)
            self._positions[place] = offset
            if offset < end:
                stretches.append(_Stretch(place, each.queue, offset, end))
                self._total += end - offset
        return stretches

    async def _look(self, stretch: _Stretch) -> None:
        question = messages.SearchQueue(
            queue=stretch.number,
            offset=stretch.offset,
            end_offset=stretch.end,
            key=self._search.key,
            id=self._search.id or "",
            bytes_max=READ_BYTES,
        )
        if self._search.wanted:
            question.filter.tags.extend(self._search.wanted.tags)
            question.filter.condition = self._search.wanted.condition
        try:
            answer, payload = await self._asker.ask(
                *(Method.SEARCH, question, client.BatchesRead), timeout_s=self._bounds.timeout_s
            )
        except OffsetOutOfRange as error:
            self._skip(stretch, error)
            return
        found: list[Message] = []
        for batch in split_answer(answer, payload, self._topic, stretch.place):
            found.extend(batch.messages(stretch.offset))
        if self._bounds.limit is not None:
            del found[self._bounds.limit - self._matched :]
        self._found.extend(found)
        self._matched += len(found)
        if answer.next_offset <= stretch.offset:
            if answer.end_offset > stretch.offset:
                raise ProtocolError(f"nothing was looked at from offset {stretch.offset} on")
            stretch.end = stretch.offset  # there is less than there was: a log without fsync
        self._looked_at += answer.next_offset - stretch.offset
        stretch.offset = Offset(answer.next_offset)

    def _skip(self, stretch: _Stretch, error: OffsetOutOfRange) -> None:
        """Go on behind what retention took away."""
        to = min(max(error.start, stretch.offset), stretch.end)
        if to == stretch.offset:
            raise error
        self._skipped += to - stretch.offset
        stretch.offset = to
