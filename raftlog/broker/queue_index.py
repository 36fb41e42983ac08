"""Where the records of every queue lie: the open range and all sealed ones.

::

    queue 3:  [range 1]  [range 2]     [range 5]  [open range]
              stored: a summary        being stored: postings, too

A range has records of many queues, a queue records in some of the ranges; the
directory of a queue says in which of the stored ones. Sealed ranges are handed
out to be stored, and answered from memory until they are. Where a queue's first batches were
copied forward, so that ranges can go, their copies are answered (``broker.survivors``).
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from raftlog.base.ids import Index, Offset
from raftlog.broker.index import (
    OpenRange,
    Postings,
    RangeDirectory,
    RangeSummary,
    SealedRange,
)
from raftlog.broker.needs import Needs
from raftlog.broker.ranges import seal_range
from raftlog.broker.survivors import Survivors


class NeededRange(msgspec.Struct, frozen=True):
    """A sealed range that queues still need, and so the log behind it, too."""

    first_index: Index
    last_index: Index
    queues: Mapping[int, int]
    """Who needs it, and the log time of its newest batch there."""
    hidden: Mapping[int, int] = msgspec.field(default_factory=dict)
    """Which of them have batches there that are not visible yet, and how many."""


class HeldRange(msgspec.Struct, frozen=True):
    """A sealed range that could go but for what is hidden there."""

    first_index: Index
    last_index: Index
    hidden_bytes: int
    range_bytes: int
    """Of all that is or was in it."""
    time_ms: int
    """Log time of the last change there."""


class RangeUse(msgspec.Struct, frozen=True):
    """What of a stored range is needed."""

    first_index: Index
    last_index: Index
    stored_bytes: int
    """Of the batches that were stored in it."""
    needed_bytes: int
    """Of those that are needed, hidden ones and copies included; at most."""
    batches: int
    """Visible ones that are needed and were not copied yet; at most."""
    queues: Mapping[int, Offset]
    """Whose those are, and up to which offset they have to be copied forward."""
    copies: int
    """Copies in it, which have to be copied again."""
    hidden: HeldRange


_NO_RANGE: Final = Offset(1 << 62)
Found = Postings | RangeSummary
"""The postings of one queue in a range, or the stored range that holds some of it."""
StartOf = Callable[[int], Offset | None]
"""Where a queue begins; None if there is no such queue."""


class QueueIndex:
    """The index of one shard's queues.

    Args:
        is_open: Whether there is a queue of this number: a deleted one's
            records are in the files, but nobody asks for them any more.
    """

    def __init__(self, is_open: Callable[[int], bool]) -> None:
        self.open = OpenRange(Index(1))
        self.trimmed = Index(0)
        """The end of the last range that was trimmed."""
        self.needs: Final = Needs()
        """What is needed of ranges beside their own postings."""
        self.survivors: Final = Survivors(self.range_of)
        """What was copied forward."""
        self._is_open = is_open
        self._firsts: list[Index] = [Index(1)]
        """Of the ranges that were not trimmed, the open one included."""
        self._stored: Final[list[RangeSummary]] = []
        self._unstored: Final[deque[SealedRange]] = deque()
        self._untaken: list[SealedRange] = []
        self._directories: Final[dict[int, RangeDirectory]] = {}

    def restore(self, trimmed: Index, ranges: Sequence[RangeSummary]) -> Index:
        """Start from stored ranges that follow one another after ``trimmed``; return their end."""
        self._stored.clear()
        self._unstored.clear()
        self._untaken = []
        self._directories.clear()
        self.trimmed = end = trimmed
        for summary in ranges:
            assert summary.first_index == end + 1, (
                f"range {summary.first_index} does not follow {end}"
            )
            self._include(summary)
            end = summary.last_index
        self.open = OpenRange(Index(end + 1))
        self._firsts = [*(summary.first_index for summary in ranges), self.open.first_index]
        return end

    def cut(self, last_index: Index, log_time_ms: int, level: int) -> None:
        """Seal the open range, whose last entry was applied, and open the next."""
        sealed = seal_range(self.open, last_index, log_time_ms, level)
        self._unstored.append(sealed)
        self._untaken.append(sealed)
        self.needs.seal(self.open.first_index, self.open.body_bytes)
        self.open = OpenRange(Index(last_index + 1))
        self._firsts.append(self.open.first_index)

    def range_of(self, index: Index) -> Index:
        """Return the first index of the range that has entry ``index``, which was not trimmed."""
        at = bisect_right(self._firsts, index) - 1
        assert at >= 0, f"entry {index} was trimmed"
        return self._firsts[at]

    def _include(self, summary: RangeSummary) -> None:
        self._stored.append(summary)
        for span in summary.queues:
            if self._is_open(span.queue):
                directory = self._directories.get(span.queue)
                if directory is None:
                    directory = self._directories[span.queue] = RangeDirectory()
                directory.add(span, summary)

    def needed_before(self, through: Index, start_of: StartOf) -> tuple[Index, int] | None:
        """Return the first range up to ``through`` that queues need, and how many do.

        None if nothing there is needed and a range ends there; 0 of them if none does.
        """
        first = Index(self.trimmed + 1)
        for first, last, spans in self._walk():
            if last > through:
                break
            needed = {queue for queue, _ in self._needing(first, spans, start_of)}
            if needed:
                return first, len(needed)
            if last == through:
                return None
        return first, 0

    def free_through(self, start_of: StartOf) -> tuple[Index, int]:
        """Return the end of the last range before the first one that is needed, and its number."""
        free = self.trimmed
        count = 0
        for first, last, spans in self._walk():
            if next(self._needing(first, spans, start_of), None) is not None:
                break
            free = last
            count += 1
        return free, count

    def _needing(
        self, first: Index, spans: Iterable[tuple[int, Offset, int]], start_of: StartOf
    ) -> Iterator[tuple[int, int]]:
        """Yield who needs a range and the log time of its newest batch there; some come twice."""
        for queue, end, at_ms in spans:
            if self._is_needed(queue, end, start_of):
                yield queue, at_ms
        for need in self.needs.of_range(first):
            is_open = start_of(need.queue) is not None
            is_seen = self._is_needed(need.queue, need.visible_end, start_of)
            if is_seen or (is_open and need.hidden):
                yield need.queue, need.time_ms
        for row in self.survivors.of_range(first):
            yield row.queue, row.log_time_ms

    def _is_needed(self, queue: int, end: Offset, start_of: StartOf) -> bool:
        """Whether a queue needs batches that end at ``end``, and has no copies of them."""
        start = start_of(queue)
        if start is None or start >= end:
            return False
        return self.survivors.copied_through(queue) < end

    def _walk(self) -> Iterator[tuple[Index, Index, Iterable[tuple[int, Offset, int]]]]:
        """Yield first and last index of each sealed range, and where and when queues end in it.

        Of those that were cut just now without making their bytes: this is called in apply.
        """
        for summary in self._stored:
            yield summary.first_index, summary.last_index, _ends(summary)
        for sealed in self._unstored:
            if sealed.last_index > self.trimmed:
                spans = (
                    (queue, each.end_offset, each.log_time_ms)
                    for queue, each in sealed.postings.items()
                )
                yield sealed.first_index, sealed.last_index, spans

    def oldest_needed(self, start_of: StartOf) -> NeededRange | None:
        """Return the first range that is needed, and by whom; None if none is."""
        for first, last, spans in self._walk():
            queues: dict[int, int] = {}
            for queue, at_ms in self._needing(first, spans, start_of):
                queues[queue] = max(at_ms, queues.get(queue, 0))
            if queues:
                hidden = {
                    need.queue: need.hidden
                    for need in self.needs.of_range(first)
                    if need.hidden and need.queue in queues
                }
                return NeededRange(first, last, queues, hidden)
        return None

    def held_by_hidden(self, start_of: StartOf) -> HeldRange | None:
        """Return the first range that is needed, if only hidden batches need it."""
        for first, last, spans in self._walk():
            if any(self._is_needed(queue, end, start_of) for queue, end, _ in spans):
                break
            if self.survivors.copies_in(first)[0]:
                break
            needs = self.needs.of_range(first)
            if any(self._is_needed(need.queue, need.visible_end, start_of) for need in needs):
                return None
            held = self._hidden_in(first, last, start_of)
            if held.hidden_bytes:
                return held
        return None

    def first_needed(self, ended_ms: int, start_of: StartOf) -> Index | None:
        """Return where the first stored range begins that is needed, if it ended before."""
        for summary in self._stored:
            if summary.log_time_ms > ended_ms:
                break
            needing = self._needing(summary.first_index, _ends(summary), start_of)
            if next(needing, None) is not None:
                return summary.first_index
        return None

    def use_of(self, first: Index, ended_ms: int, start_of: StartOf) -> RangeUse | None:
        """Return what is needed of the stored range that begins there, if it ended before."""
        at = bisect_left(self._stored, first, key=_first_of)
        if at == len(self._stored) or self._stored[at].log_time_ms > ended_ms:
            return None
        summary = self._stored[at]
        queues: dict[int, Offset] = {}
        stored = needed = batches = 0
        for span in summary.queues:
            stored += span.batch_bytes
            if self._is_needed(span.queue, span.end_offset, start_of):
                queues[span.queue] = span.end_offset
                needed += span.batch_bytes
                batches += span.postings
        for need in self.needs.of_range(first):
            if self._is_needed(need.queue, need.visible_end, start_of):
                queues[need.queue] = need.visible_end  # its posting lies in a later range
                needed += self.batch_bytes(need.queue)
                begin = max(start_of(need.queue) or 0, self.survivors.copied_through(need.queue))
                batches += need.visible_end - begin
        hidden = self._hidden_in(first, summary.last_index, start_of)
        copies, size = self.survivors.copies_in(first)
        return RangeUse(
            *(first, summary.last_index, stored, needed + hidden.hidden_bytes + size),
            *(batches, queues, copies, hidden),
        )

    def _hidden_in(self, first: Index, last: Index, start_of: StartOf) -> HeldRange:
        size = range_bytes = time_ms = 0
        for need in self.needs.of_range(first):
            if start_of(need.queue) is not None:
                size += need.hidden_bytes
                range_bytes = max(range_bytes, need.range_bytes)
                time_ms = max(time_ms, need.time_ms if need.hidden else 0)
        return HeldRange(first, last, size, range_bytes, time_ms)

    def sealed_before(self, log_time_ms: int) -> Index:
        """Return the end of the last stored range that ended at or before a log time."""
        at = bisect_right(self._stored, log_time_ms, key=_ended_ms)
        return self._stored[at - 1].last_index if at else self.trimmed

    def trim(self, through: Index) -> None:
        """Forget the ranges up to ``through``. One that is being stored goes when it is."""
        self.trimmed = through
        self.needs.trim(through)
        del self._firsts[: bisect_right(self._firsts, through)]
        gone = 0
        while gone < len(self._stored) and self._stored[gone].last_index <= through:
            gone += 1
        touched = {span.queue for summary in self._stored[:gone] for span in summary.queues}
        del self._stored[:gone]
        for queue in touched:
            directory = self._directories.get(queue)
            if directory is not None and not directory.forget(through):
                del self._directories[queue]

    def close(self, queue: int) -> None:
        """Forget where a closed queue's records are."""
        self._directories.pop(queue, None)
        self.survivors.close(queue)

    def find(self, queue: int, offset: Offset) -> Found:
        """Return the postings that hold ``offset``, or the stored range that does."""
        if offset < self.survivors.copied_through(queue):
            # Also if the range with its posting is there: that may point into one that is not.
            return self.survivors.find(queue, offset)
        for postings in self._in_memory(queue):
            if offset >= postings.base_offset:
                return postings
        return self._directories[queue].find(offset)

    def _ranges_begin(self, queue: int) -> Offset:
        """Return the first offset of a queue that a range has; beyond all if none has any."""
        directory = self._directories.get(queue)
        if directory is not None:
            return directory.base_offset
        begin = _NO_RANGE
        for postings in self._in_memory(queue):
            begin = postings.base_offset
        return begin

    def find_time(self, queue: int, log_time_ms: int) -> Found | None:
        """Return the first range that holds a batch stored at or after a log time."""
        survivors = self.survivors.find_time(queue, log_time_ms, self._ranges_begin(queue))
        if survivors is not None:
            return survivors
        directory = self._directories.get(queue)
        found: Found | None = None if directory is None else directory.find_time(log_time_ms)
        if found is None:
            for postings in self._in_memory(queue):
                if postings.log_time_ms < log_time_ms:
                    break
                found = postings
        return found

    def find_bytes(self, queue: int, size: int) -> tuple[Found, int] | None:
        """Return the range where the newest ``size`` bytes begin, and the bytes behind it."""
        behind = 0
        for postings in self._in_memory(queue):
            more = postings.batch_bytes
            if behind + more > size:
                return postings, behind
            behind += more
        directory = self._directories.get(queue)
        found: tuple[Found, int] | None = None
        if directory is not None:
            found = directory.find_bytes(size - behind)
            if found is None:
                behind += directory.batch_bytes
        if found is None:
            found = self.survivors.find_bytes(queue, size - behind, self._ranges_begin(queue))
        return None if found is None else (found[0], found[1] + behind)

    def batch_bytes(self, queue: int) -> int:
        """Return the bytes of a queue's batches in the log, those before its start included."""
        directory = self._directories.get(queue)
        stored = 0 if directory is None else directory.batch_bytes
        stored += self.survivors.batch_bytes(queue, self._ranges_begin(queue))
        return stored + sum(postings.batch_bytes for postings in self._in_memory(queue))

    def _in_memory(self, queue: int) -> Iterator[Postings]:
        """Walk back through the queue's postings in the open range and the unstored ones."""
        if not self._is_open(queue):
            return
        postings = self.open.postings.get(queue)
        if postings is not None:
            yield postings
        for sealed in reversed(self._unstored):
            postings = sealed.postings.get(queue)
            if postings is not None and sealed.last_index > self.trimmed:
                yield postings

    def take_sealed(self) -> list[SealedRange]:
        """Return the ranges cut since the last call, oldest first, to be stored."""
        taken, self._untaken = self._untaken, []
        return taken

    def stored(self, summary: RangeSummary) -> None:
        """Let go of the oldest sealed range, whose file is durable; its summary stays."""
        sealed = self._unstored.popleft()
        assert sealed.first_index == summary.first_index, (
            f"range {summary.first_index} is stored before {sealed.first_index}"
        )
        if summary.last_index > self.trimmed:
            self._include(summary)

    @property
    def ranges(self) -> Sequence[RangeSummary]:
        """The sealed ranges, oldest first. Makes the bytes of those that have none yet."""
        return [*self._stored, *(sealed.summary for sealed in self._kept_unstored)]

    @property
    def _kept_unstored(self) -> list[SealedRange]:
        return [sealed for sealed in self._unstored if sealed.last_index > self.trimmed]

    @property
    def range_count(self) -> int:
        """How many sealed ranges there are."""
        return len(self._stored) + len(self._kept_unstored)

    def digest(self, state: "hashlib.blake2b") -> None:
        """Take all of it into ``state``, but for what is stored already."""
        current = self.open
        state.update(
            msgspec.msgpack.encode(
                (
                    self.trimmed,
                    [(summary.first_index, summary.checksum) for summary in self.ranges],
                    current.first_index,
                    current.body_bytes,
                    sorted(current.postings),
                )
            )
        )
        for _, postings in sorted(current.postings.items()):
            for column in postings.columns:
                state.update(column)


def _ended_ms(summary: RangeSummary) -> int:
    return summary.log_time_ms


def _first_of(summary: RangeSummary) -> Index:
    return summary.first_index


def _ends(summary: RangeSummary) -> Iterator[tuple[int, Offset, int]]:
    """Yield where and when queues end in a range."""
    return ((span.queue, span.end_offset, span.log_time_ms) for span in summary.queues)
