"""Read a queue through a filter: whole batches, those with a match, and which records match.

::

    read a piece --> pick records, off the loop --> a match: keep the batch
         ^                                            |
         +------ room, work and time are left --------+--> answer: batches, and how far it looked

What is answered says how far it looked, matches or not, so a reader gets over a long
stretch that holds nothing for it, a bounded piece of work at a time. Batches are served as
they are stored. Nothing here decides about state (ruling 11).

A batch that can't be looked into (a codec that this node does not have, damage) is an
error that names its offset, after what came before it: it is never taken for one that
does not match.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, CodecUnavailable, RaftlogError, RecordTooLarge
from raftlog.base.ids import Offset
from raftlog.base.limits import FETCH_WAIT_NS_MAX, KIB, MIB
from raftlog.node.ports import Reader
from raftlog.service.read import (
    READ_BATCHES_MAX,
    READ_BYTES_MAX,
    Reading,
    ReadRequest,
    ReadResult,
    ReadService,
)
from raftlog.wire.batch import batch_facts
from raftlog.wire.filters import RecordFilter, Selector, selector_of

PIECE_BYTES: Final = 256 * KIB
"""Stored bytes that are read for one look."""
PIECE_OPENED_BYTES: Final = 1 * MIB
PIECE_RECORDS: Final = 2_000
"""A look ends with the batch that passes one of these: the reader's thread has other work."""
LOOKED_BYTES_MAX: Final = 8 * MIB
OPENED_BYTES_MAX: Final = 16 * MIB
LOOKED_RECORDS_MAX: Final = 50_000
"""A request ends with the piece that passes one of these, whatever was found."""
PASSED_WAIT_NS: Final = 1_000_000_000
"""What was passed over at the end of a queue is told after so long, if nothing matches."""


class FilteredResult(msgspec.Struct, frozen=True, gc=False):
    """What was found: ``read`` has the batches with a match, ``matching`` their records."""

    read: ReadResult
    matching: Sequence[Sequence[int]]
    next_offset: Offset


class LookedAt(msgspec.Struct, frozen=True, gc=False):
    """What one request looks at, beside the bounds that all have."""

    end_offset: Offset | None = None
    """Nothing from here on; None: to the end of the queue."""
    bytes_max: int = LOOKED_BYTES_MAX
    """Stored bytes."""


OnFiltered = Callable[[FilteredResult | RaftlogError], None]
"""Called once, on the loop, unless the read was cancelled."""


class _Look(msgspec.Struct):
    """What one piece of work found."""

    matches: list[tuple[int, Sequence[int]]] = msgspec.field(default_factory=list)
    """Place of a batch in the piece, and its matching records."""
    batches: int = 0
    """Looked at, from the first one."""
    records: int = 0
    opened: int = 0
    failed: RaftlogError | None = None
    """Why the batch after them could not be."""


def _look(select: Selector, batches: Sequence[Buffer]) -> _Look:
    """Look at batches until it is enough for one piece of work. Touches nothing else."""
    found = _Look()
    for place, batch in enumerate(batches):
        if found.opened >= PIECE_OPENED_BYTES or found.records >= PIECE_RECORDS:
            break
        try:
            selection = select(batch)
        except (BadBatch, RecordTooLarge, CodecUnavailable) as error:
            found.failed = error
            break
        if selection.numbers:
            found.matches.append((place, selection.numbers))
        found.batches += 1
        found.records += batch_facts(batch)[0]
        found.opened += selection.opened
    return found


class FilterService:
    """Reads the queues of one shard through filters."""

    def __init__(self, read: ReadService, reader: Reader) -> None:
        self.read_service: Final = read
        self.reader: Final = reader
        self.reads = 0
        self.batches_looked_at = 0
        self.batches_served = 0

    def read(
        self, request: ReadRequest, wanted: RecordFilter, reply: OnFiltered
    ) -> "FilteredReading":
        """Start a read with a filter that parses; ``reply`` may be called before this returns."""
        return self.look(request, selector_of(wanted), reply, LookedAt())

    def look(
        self, request: ReadRequest, select: Selector, reply: OnFiltered, at: LookedAt
    ) -> "FilteredReading":
        """Start a read of the records that ``select`` picks ``at`` a stretch; as ``read``."""
        self.reads += 1
        reading = FilteredReading(self, request, select, reply, at)
        reading.go_on()
        return reading


class FilteredReading:
    """One read under way."""

    def __init__(
        self,
        service: FilterService,
        request: ReadRequest,
        select: Selector,
        reply: OnFiltered,
        at: LookedAt,
    ) -> None:
        self._at = at
        self._service = service
        self._request = request
        self._select = select
        self._reply = reply
        self._ended = False
        self._reading: Reading | None = None
        self._position = request.offset
        self._base_offsets: list[int] = []
        self._batches: list[Buffer] = []
        self._matching: list[Sequence[int]] = []
        self._size = 0
        self._looked = 0
        self._opened = 0
        self._records = 0
        self._bytes_max = min(max(request.bytes_max, 1), READ_BYTES_MAX)
        wait_ns = min(request.wait_ns, FETCH_WAIT_NS_MAX)
        self._deadline_ns = service.read_service.scheduler.now_ns() + max(wait_ns, 0)
        queue = service.read_service.machine.queues.get(request.queue)
        self._is_at_end = queue is None or request.offset >= queue.end_offset
        self._has_passed = False
        self._last: ReadResult | None = None
        """The newest answer of the plain read."""

    def cancel(self) -> None:
        """Nobody wants the answer any more; ``reply`` is not called."""
        self._ended = True
        if self._reading is not None:
            self._reading.cancel()

    def go_on(self) -> None:
        """Read the next piece; with nothing in hand, wait for it as long as was asked for.

        What was passed over is told before a wait; who asked at the end of the queue waits on
        over records that do not match, for a while, so that the position does not lag far.
        """
        request = self._request
        now_ns = self._service.read_service.scheduler.now_ns()
        if self._position > request.offset and not self._has_passed:
            self._has_passed = True
            self._deadline_ns = min(self._deadline_ns, now_ns + PASSED_WAIT_NS)
        left_ns = self._deadline_ns - now_ns
        if self._batches or not self._is_at_end:
            left_ns = 0
        self._reading = self._service.read_service.read(
            msgspec.structs.replace(
                request,
                offset=self._position,
                bytes_max=PIECE_BYTES,
                wait_ns=max(left_ns, 0),
                staleness_ns=request.staleness_ns if self._position == request.offset else None,
            ),
            self._on_read,
        )

    def _on_read(self, result: ReadResult | RaftlogError) -> None:
        if self._ended:
            return
        if isinstance(result, RaftlogError):
            # What was found before is an answer; whoever goes on from there is told.
            if self._position > self._request.offset and self._last is not None:
                self._end(self._last)
            else:
                self._fail(result)
            return
        self._last = result
        if not result.batches:
            self._end(result)
            return
        self._service.reader.submit(
            lambda: _look(self._select, result.batches),
            lambda found, error: self._on_look(result, found, error),
        )

    def _on_look(self, result: ReadResult, found: _Look | None, error: Exception | None) -> None:
        if self._ended:
            return
        assert found is not None, f"looking at batches failed: {error!r}"
        is_full = self._take_in(result, found)
        if found.failed is not None and not is_full:
            if self._position == self._request.offset:
                self._fail(self._unreadable(result.base_offsets[found.batches], found.failed))
                return
            is_full = True
        enough = (
            is_full
            or self._looked >= min(self._at.bytes_max, LOOKED_BYTES_MAX)
            or self._opened >= OPENED_BYTES_MAX
            or self._records >= LOOKED_RECORDS_MAX
        )
        if enough:
            self._end(result)
        else:
            self.go_on()

    def _take_in(self, result: ReadResult, found: _Look) -> bool:
        """Keep what matches, as long as it fits; return whether it stopped fitting."""
        self._service.batches_looked_at += found.batches
        self._opened += found.opened
        self._records += found.records
        matches = dict(found.matches)
        end = self._at.end_offset
        for place in range(found.batches):
            base, batch = result.base_offsets[place], result.batches[place]
            first = self._position - base  # what is before it, the reader has
            after = batch_facts(batch)[0] if end is None else end - base
            numbers = [number for number in matches.get(place, ()) if first <= number < after]
            if numbers:
                is_room = self._size + len(batch) <= self._bytes_max
                if self._batches and not (is_room and len(self._batches) < READ_BATCHES_MAX):
                    return True
                self._base_offsets.append(base)
                self._batches.append(batch)
                self._matching.append(numbers)
                self._size += len(batch)
            self._looked += len(batch)
            self._position = Offset(base + batch_facts(batch)[0])
            if end is not None and self._position >= end:
                self._position = end
                return True
        return self._size >= self._bytes_max

    @staticmethod
    def _unreadable(offset: int, error: RaftlogError) -> RaftlogError:
        text = f"the records from offset {offset} can't be filtered on this node: {error}"
        if isinstance(error, CodecUnavailable):
            return CodecUnavailable(text)
        return BadBatch(text)

    def _end(self, last: ReadResult) -> None:
        self._ended = True
        self._service.batches_served += len(self._batches)
        read = ReadResult(
            self._base_offsets,
            self._batches,
            last.start_offset,
            last.end_offset,
            last.applied,
        )
        self._reply(FilteredResult(read, self._matching, self._position))

    def _fail(self, error: RaftlogError) -> None:
        self._ended = True
        self._reply(error)
