"""Keys in order, whatever order they came in.

Blocks of a few hundred keys: a new key moves one block's tail, not the whole
list, and a walk may begin anywhere.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

K = TypeVar(
    "K",
    int,
    str,
    tuple[int, int],
    tuple[int, str],
    tuple[str, int],
    tuple[str, str],
    tuple[int, int, int],
    tuple[int, tuple[int, int]],
)

T = TypeVar("T")

BLOCK_KEYS: Final = 512
"""A block is divided when it has twice as many."""


def runs_of(ordered: Sequence[T], value_of: Callable[[T], int]) -> Iterator[tuple[int, int]]:
    """Yield each value of what is ordered by it, and how often it comes; cheap for long runs."""
    at = 0
    while at < len(ordered):
        value = value_of(ordered[at])
        end = bisect_right(ordered, value, lo=at, key=value_of)
        yield value, end - at
        at = end


class SortedKeys(Generic[K]):
    """A set of keys, kept in order."""

    __slots__ = ("_blocks", "_lasts")

    def __init__(self, keys: Iterable[K] = ()) -> None:
        ordered = sorted(keys)
        self._blocks: list[list[K]] = [
            ordered[start : start + BLOCK_KEYS] for start in range(0, len(ordered), BLOCK_KEYS)
        ]
        self._lasts: list[K] = [block[-1] for block in self._blocks]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._blocks)

    def add(self, key: K) -> None:
        """Add a key that is not there."""
        blocks, lasts = self._blocks, self._lasts
        if not blocks:
            blocks.append([key])
            lasts.append(key)
            return
        at = min(bisect_left(lasts, key), len(blocks) - 1)
        block = blocks[at]
        insort(block, key)
        lasts[at] = block[-1]
        if len(block) > 2 * BLOCK_KEYS:
            blocks[at : at + 1] = [block[:BLOCK_KEYS], block[BLOCK_KEYS:]]
            lasts.insert(at, block[BLOCK_KEYS - 1])

    def remove(self, key: K) -> None:
        """Remove a key that is there."""
        at = bisect_left(self._lasts, key)
        block = self._blocks[at]
        place = bisect_left(block, key)
        assert block[place] == key, f"key {key} is not there"
        del block[place]
        if block:
            self._lasts[at] = block[-1]
        else:
            del self._blocks[at]
            del self._lasts[at]

    def first(self) -> K | None:
        """Return the first key; None if there is none."""
        return self._blocks[0][0] if self._blocks else None

    def after(self, key: K | None) -> Iterator[K]:
        """Walk through the keys after ``key`` (None: all). Nothing may change meanwhile."""
        at, place = self._behind(key)
        blocks = self._blocks
        for number in range(at, len(blocks)):
            block = blocks[number]
            yield from islice(block, place, None) if place else block
            place = 0

    def next(self, key: K | None, count: int) -> list[K]:
        """Return the first ``count`` keys after ``key`` (None: of all), in order."""
        at, place = self._behind(key)
        found: list[K] = []
        while len(found) < count and at < len(self._blocks):
            found += self._blocks[at][place : place + count - len(found)]
            at, place = at + 1, 0
        return found

    def _behind(self, key: K | None) -> tuple[int, int]:
        """Return the block, and the place in it, where the keys after ``key`` begin."""
        if key is None:
            return 0, 0
        at = bisect_right(self._lasts, key)
        return at, bisect_right(self._blocks[at], key) if at < len(self._blocks) else 0

    def before(self, key: K, count: int) -> list[K]:
        """Return the last ``count`` keys before ``key``, in order."""
        found: list[K] = []
        at = bisect_left(self._lasts, key)
        place = bisect_left(self._blocks[at], key) if at < len(self._blocks) else 0
        while len(found) < count:
            found[:0] = (
                self._blocks[at][max(0, place - count + len(found)) : place] if place else []
            )
            if not at:
                break
            at -= 1
            place = len(self._blocks[at])
        return found
