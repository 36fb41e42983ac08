"""Rows that a snapshot has encoded before and that are the same still (decision 30).

::

    keys         a b c| d e| f g h| i j      a run ends with a key of which that is told (|), and
    snapshot 1   a b c| d e| f g h| i j      nothing else tells: equal tables have equal runs
    k comes, e goes
    snapshot 2   a b c| d f g h| i j k       encoded anew: from d on, and the run of k

So the second snapshot of a million rows that wait costs what has changed since the first. A run
without an end, the last one of a table, is encoded each time.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final, Generic

import msgspec

from raftlog.broker.sorted_keys import K


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Some rows in key order, as one MessagePack array."""

    rows: int
    data: bytes


class EncodedRuns(Generic[K]):
    """The encoded runs of one table.

    Args:
        end_of: How many of these keys there are through the first that ends a run; 0: none does.
            Whether one does is told by itself alone, and the same everywhere.
    """

    __slots__ = ("_chunks", "_lasts", "_run_before", "end_of")

    def __init__(self, end_of: Callable[[Sequence[K]], int]) -> None:
        self.end_of: Final[Callable[[Sequence[K]], int]] = end_of
        self._chunks: Final[dict[K | None, tuple[K, Sequence[Chunk]]]] = {}
        """By the last key of the run before (None: the first run): the last key, and the rows."""
        self._lasts: Final[list[K]] = []
        """The last keys of all that are encoded, in order."""
        self._run_before: Final[dict[K, K | None]] = {}
        """For each of them the last key of the run before it."""

    def behind(self, before: K | None) -> tuple[K, Sequence[Chunk]] | None:
        """Return the last key and the rows of the run behind ``before``, if that is encoded."""
        return self._chunks.get(before)

    def store(self, before: K | None, last: K, chunks: Sequence[Chunk]) -> None:
        """Keep a run: all keys behind ``before``, the last one of a run, through ``last``."""
        assert before not in self._chunks, f"the run behind {before} is encoded already"
        self._chunks[before] = last, chunks
        self._lasts.insert(bisect_left(self._lasts, last), last)
        self._run_before[last] = before

    def change(self, key: K) -> None:
        """The row of a key comes, goes, or is about to change.

        One that ended a run may go: then the run behind is a longer one.
        """
        lasts = self._lasts
        at = bisect_left(lasts, key)
        while at < len(lasts):
            last = lasts[at]
            before = self._run_before[last]
            if before is not None and before > key:
                return
            del lasts[at], self._run_before[last], self._chunks[before]

    def clear(self) -> None:
        """Forget all of them."""
        self._chunks.clear()
        self._lasts.clear()
        self._run_before.clear()
