"""Where the records of every queue lie: the open range and all sealed ones.

::

    queue 3:  [range 1]  [range 2]     [range 5]  [open range]
              stored: a summary        being stored: postings, too

A range has records of many queues, a queue records in some of the ranges; the
directory of a queue says in which. Sealed ranges are handed out to be stored,
and answered from memory until they are.
"""

import hashlib
from collections.abc import Callable, Sequence
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
from raftlog.broker.ranges import seal_range

Found = Postings | RangeSummary
"""The postings of one queue in a range, or the stored range that holds some of it."""


class QueueIndex:
    """The index of one shard's queues.

    Args:
        is_open: Whether there is a queue of this number: a deleted one's
            records are in the files, but nobody asks for them any more.
    """

    def __init__(self, is_open: Callable[[int], bool]) -> None:
        self.open = OpenRange(Index(1))
        self._is_open = is_open
        self._summaries: Final[list[RangeSummary]] = []
        self._directories: Final[dict[int, RangeDirectory]] = {}
        self._unstored: Final[dict[Index, SealedRange]] = {}
        self._taken = 0

    def restore(self, ranges: Sequence[RangeSummary]) -> Index:
        """Start from stored ranges, which follow one another from index 1; return their end."""
        end = Index(0)
        for summary in ranges:
            assert summary.first_index == end + 1, (
                f"range {summary.first_index} does not follow {end}"
            )
            self._include(summary)
            end = summary.last_index
        self._taken = len(self._summaries)
        self.open = OpenRange(Index(end + 1))
        return end

    def cut(self, last_index: Index, log_time_ms: int) -> None:
        """Seal the open range, whose last entry was applied, and open the next."""
        sealed = seal_range(self.open, last_index, log_time_ms)
        self._include(sealed.summary)
        self._unstored[sealed.summary.first_index] = sealed
        self.open = OpenRange(Index(last_index + 1))

    def _include(self, summary: RangeSummary) -> None:
        self._summaries.append(summary)
        for span in summary.queues:
            if self._is_open(span.queue):
                directory = self._directories.get(span.queue)
                if directory is None:
                    directory = self._directories[span.queue] = RangeDirectory()
                directory.add(span, summary)

    def close(self, queue: int) -> None:
        """Forget where a closed queue's records are."""
        self._directories.pop(queue, None)

    def find(self, queue: int, offset: Offset) -> Found:
        """Return the postings that hold ``offset``, or the stored range that does."""
        postings = self.open.postings.get(queue)
        if postings is not None and offset >= postings.base_offset:
            return postings
        return self._postings(queue, self._directories[queue].find(offset))

    def find_time(self, queue: int, log_time_ms: int) -> Found | None:
        """Return the first range that holds a batch stored at or after a log time."""
        directory = self._directories.get(queue)
        summary = None if directory is None else directory.find_time(log_time_ms)
        if summary is not None:
            return self._postings(queue, summary)
        postings = self.open.postings.get(queue)
        if postings is None or postings.log_time_ms < log_time_ms:
            return None
        return postings

    def find_bytes(self, queue: int, size: int) -> tuple[Found, int] | None:
        """Return the range where the newest ``size`` bytes begin, and the bytes behind it."""
        postings = self.open.postings.get(queue)
        newest = 0 if postings is None else postings.batch_bytes
        if postings is not None and newest > size:
            return postings, 0
        directory = self._directories.get(queue)
        found = None if directory is None else directory.find_bytes(size - newest)
        if found is None:
            return None
        summary, behind = found
        return self._postings(queue, summary), behind + newest

    def batch_bytes(self, queue: int) -> int:
        """Return the bytes of a queue's batches, those before its start included."""
        postings = self.open.postings.get(queue)
        directory = self._directories.get(queue)
        return (0 if postings is None else postings.batch_bytes) + (
            0 if directory is None else directory.batch_bytes
        )

    def _postings(self, queue: int, summary: RangeSummary) -> Found:
        sealed = self._unstored.get(summary.first_index)
        return summary if sealed is None else sealed.postings[queue]

    def take_sealed(self) -> list[SealedRange]:
        """Return the ranges cut since the last call, oldest first, to be stored."""
        fresh = self._summaries[self._taken :]
        self._taken = len(self._summaries)
        return [self._unstored[summary.first_index] for summary in fresh]

    def stored(self, summary: RangeSummary) -> None:
        """Let go of a sealed range whose file is durable; its summary stays."""
        del self._unstored[summary.first_index]

    @property
    def ranges(self) -> Sequence[RangeSummary]:
        """The sealed ranges, oldest first."""
        return self._summaries

    def digest(self, state: "hashlib.blake2b") -> None:
        """Take all of it into ``state``, but for what is stored already."""
        current = self.open
        state.update(
            msgspec.msgpack.encode(
                (
                    [(summary.first_index, summary.checksum) for summary in self._summaries],
                    current.first_index,
                    current.body_bytes,
                    sorted(current.postings),
                )
            )
        )
        for _, postings in sorted(current.postings.items()):
            for column in postings.columns:
                state.update(column)
