"""Leased messages and their bodies: as many as one answer has room for.

::

    (queue, offset, attempts) in order --> batches that hold them, read one run after the other
                                       --> few of a large batch's records: only those, off the loop

A batch is sent as it is stored, unless most of it is somebody else's: whoever takes one
message at a time would get all the others with each of them. What a node can't open it sends
whole. What is picked of a compressed batch may be larger than the batch was: what an answer
has no room for is known when all is picked.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    BadBatch,
    CodecUnavailable,
    FaultyEntry,
    NotPermitted,
    OffsetOutOfRange,
    RaftlogError,
    RecordTooLarge,
    WrongQueue,
)
from raftlog.base.ids import Offset
from raftlog.base.limits import FRAME_HEADER_BYTES_MAX, KIB
from raftlog.broker.index import Postings, RangeSummary
from raftlog.node.ports import Reader
from raftlog.service.read import (
    READ_BATCHES_MAX,
    READ_BYTES_MAX,
    ReadRequest,
    ReadResult,
    ReadService,
)
from raftlog.wire.batch import Batch, Record, batch_facts, encode_batch

NAMES_BYTES_MAX: Final = FRAME_HEADER_BYTES_MAX // 4
"""Names of queues in one answer."""
PICKED_FROM_BYTES: Final = 8 * KIB
"""Smaller batches are sent whole."""
PICKED_SHARE: Final = 4
"""Of a larger one that much or more may be somebody else's."""
DAMAGES_MAX: Final = 4
"""Damaged batches that one answer waits for: each takes as long as a repair may."""
OPENED_MAX: Final = 8
"""Batches that are held open: the next message of one is likely asked for soon."""

Message = tuple[int, int, int]
"""Queue, offset, attempts."""


class LeasedBatch(msgspec.Struct):
    """A batch, and which of its records are leased."""

    queue: int
    base_offset: int
    batch: Buffer
    numbers: list[int]
    attempts: list[int]
    picked: bool = False
    """The batch has only those records."""


class Gathered(msgspec.Struct):
    """What an answer holds, and what it has no room for (or what could not be read)."""

    batches: list[LeasedBatch]
    left: list[Message]
    error: RaftlogError | None = None
    """Why there is something left; None: for want of room."""
    damaged: list[Message] = msgspec.field(default_factory=list)
    """What is damaged on this node: nothing else waits for it."""


class LeasedBodies:
    """Finds the bodies of leased messages of one shard."""

    def __init__(self, read: ReadService, reader: Reader) -> None:
        self.read: Final = read
        self._reader: Final = reader
        self._opened: Final[OrderedDict[tuple[int, int], Sequence[Record]]] = OrderedDict()
        """For the reader's thread alone."""
        self.picked = 0

    def find(self, messages: Sequence[Message], done: Callable[[Gathered], None]) -> None:
        """Find bodies for ``messages``; ``done`` is called once, perhaps before this returns.

        A message that retention has passed is in neither part of the answer.
        """
        _Gathering(self, sorted(messages), done).go_on()

    def pick(self, gathered: Gathered, done: Callable[[Gathered], None]) -> None:
        """Leave out of large batches what is not leased."""
        wanted = [each for each in gathered.batches if _is_mostly_others(each)]
        if not wanted:
            done(gathered)
            return
        self.picked += len(wanted)

        def pick() -> None:
            for each in wanted:
                self._pick(each)

        def picked(_none: None, error: Exception | None) -> None:
            assert error is None, f"picking records failed: {error!r}"
            _limit(gathered)
            done(gathered)

        self._reader.submit(pick, picked)

    def _pick(self, leased: LeasedBatch) -> None:
        key = (leased.queue, leased.base_offset)
        try:
            records = self._opened.pop(key, None) or tuple(Batch(leased.batch).records())
            self._opened[key] = records
            if len(self._opened) > OPENED_MAX:
                self._opened.popitem(last=False)
            wanted = [records[number] for number in leased.numbers]
            leased.batch = encode_batch(wanted, timestamp_ms=wanted[0].timestamp_ms)
        except (BadBatch, RecordTooLarge, CodecUnavailable):
            return  # whoever gets it can perhaps open it
        leased.picked = True


class _Gathering:
    """One answer under way."""

    def __init__(
        self,
        bodies: LeasedBodies,
        messages: Sequence[Message],
        done: Callable[[Gathered], None],
    ) -> None:
        self._bodies = bodies
        self._messages = messages
        self._done = done
        self._at = 0
        self._is_answered = self._waits = False
        self._size = self._names = self._damages = 0
        self._named: set[int] = set()
        self._found = Gathered([], [])

    def go_on(self) -> None:
        """Read run after run; a loop, since reads are mostly answered at once."""
        messages = self._messages
        while self._at < len(messages):
            self._is_answered = self._waits = False
            queue, offset, _ = messages[self._at]
            request = ReadRequest(
                queue, Offset(offset), READ_BYTES_MAX - self._size, until=self._run_end()
            )
            self._bodies.read.read(request, self._on_read)
            if not self._is_answered:
                self._waits = True
                return
        self._bodies.pick(self._found, self._done)

    def _run_end(self) -> int:
        messages, at = self._messages, self._at
        queue, offset, _ = messages[at]
        while at < len(messages) and messages[at][:2] == (queue, offset):
            at += 1
            offset += 1
        return offset

    def _on_read(self, result: ReadResult | RaftlogError) -> None:
        if isinstance(result, FaultyEntry) and self._damages < DAMAGES_MAX:
            self._pass_over(result)
            return
        if isinstance(result, ReadResult):
            self._take_in(result)
        elif isinstance(result, OffsetOutOfRange | WrongQueue):
            self._at += 1  # it is nobody's any more
        elif isinstance(result, NotPermitted):  # it was leased a moment before
            self._found.left.append(self._messages[self._at])
            self._at += 1
        else:
            self._stop(result)
        self._answered()

    def _answered(self) -> None:
        self._is_answered = True
        if self._waits:
            self.go_on()

    def _pass_over(self, damage: FaultyEntry) -> None:
        """Go on behind a batch that is damaged here, and that no peer has repaired in time."""
        machine = self._bodies.read.machine
        queue, offset, _ = self._messages[self._at]
        self._damages += 1
        self._found.error = damage

        def pass_over(postings: Postings | None, _error: RaftlogError | None) -> None:
            messages = self._messages
            end = offset + 1
            if postings is not None:
                end = postings[postings.find(Offset(offset))].end_offset
            while self._at < len(messages) and messages[self._at] < (queue, end):
                self._found.damaged.append(messages[self._at])
                self._at += 1
            self._answered()

        row = machine.queues.get(queue)
        is_there = row is not None and row.start_offset <= offset  # it was read for a while
        found = machine.find(queue, Offset(offset)) if is_there else None
        if isinstance(found, RangeSummary):
            self._bodies.read.ranges.load(found, queue, pass_over)
        else:
            pass_over(found, None)

    def _take_in(self, result: ReadResult) -> None:
        messages = self._messages
        queue = messages[self._at][0]
        for base, batch in zip(result.base_offsets, result.batches, strict=True):
            if not self._is_room(queue, len(batch)):
                self._stop(None)
                return
            end = base + batch_facts(batch)[0]
            leased = LeasedBatch(queue, base, batch, [], [])
            while self._at < len(messages):
                number, offset, attempts = messages[self._at]
                if number != queue or offset >= end:
                    break
                leased.numbers.append(offset - base)
                leased.attempts.append(attempts)
                self._at += 1
            self._size += len(batch)
            self._found.batches.append(leased)
            if self._at == len(messages) or messages[self._at][0] != queue:
                return

    def _is_room(self, queue: int, size: int) -> bool:
        if queue not in self._named:
            row = self._bodies.read.machine.queues.get(queue)
            self._named.add(queue)
            self._names += 0 if row is None else len(row.topic.encode()) + 16
        found = self._found.batches
        return not found or (
            self._size + size <= READ_BYTES_MAX
            and len(found) < READ_BATCHES_MAX // 4
            and self._names <= NAMES_BYTES_MAX
        )

    def _stop(self, error: RaftlogError | None) -> None:
        self._found.left += self._messages[self._at :]
        self._found.error = error
        self._at = len(self._messages)


def _limit(gathered: Gathered) -> None:
    """Leave what is too much for one answer; at least one batch is in it."""
    size = 0
    for at, each in enumerate(gathered.batches):
        size += len(each.batch)
        if at and size > READ_BYTES_MAX:
            gathered.left[:0] = messages_of(gathered.batches[at:])
            del gathered.batches[at:]
            return


def messages_of(batches: Sequence[LeasedBatch]) -> list[Message]:
    """Return the messages whose bodies are there."""
    return [
        (batch.queue, batch.base_offset + number, attempts)
        for batch in batches
        for number, attempts in zip(batch.numbers, batch.attempts, strict=True)
    ]


def _is_mostly_others(leased: LeasedBatch) -> bool:
    return (
        len(leased.batch) >= PICKED_FROM_BYTES
        and len(leased.numbers) * PICKED_SHARE < batch_facts(leased.batch)[0]
    )
