"""Columns of byte strings: how the values, or the keys, of a batch lie in its payload.

Two columns, in truth: lengths as ``i32[count]``, and the bytes one after the
other. A length of -1 is "none", where the batch says that there may be some.
Written and read by a few calls into C, whatever the count.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from raftlog.base.errors import BadBatch

_NONE: Final = -1


def lengths(column: Sequence[bytes | None], *, has_none: bool) -> Iterable[int]:
    """Return the lengths to be written."""
    if has_none:
        return (_NONE if value is None else len(value) for value in column)
    return map(len, column)  # type: ignore[arg-type]  # no None in it


def joined(column: Sequence[bytes | None], *, has_none: bool) -> bytes:
    """Return the bytes to be written."""
    if has_none:
        return b"".join(value for value in column if value is not None)
    return b"".join(column)  # type: ignore[arg-type]  # no None in it


def total(found: tuple[int, ...], *, has_none: bool) -> int:
    """Return how many bytes belong to the lengths that were read.

    Raises:
        BadBatch: One is negative and may not be.
    """
    if min(found) < (_NONE if has_none else 0):
        raise BadBatch(f"a length of {min(found)}")
    return sum(found) + (found.count(_NONE) if has_none else 0)


def split(column: memoryview, found: Sequence[int]) -> Iterator[bytes | None]:
    """Yield the byte strings of a column whose ``total`` was checked."""
    data = bytes(column)
    for length, end in zip(found, accumulate(max(size, 0) for size in found), strict=True):
        yield None if length == _NONE else data[end - length : end]
