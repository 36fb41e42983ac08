"""Tables: all replicated state that is not the queue index (ruling 18).

A table can be *frozen* while it goes on changing::

    freeze      | a=1 b=2 c=3            old: -
    b=5, d=4    | a=1 b=5 c=3 d=4        old: b=2, d=absent
    walk        | chunk: a=1, b=2 (from old), c=3; d is skipped

The first change of a key keeps the row's old encoding, and only for keys that
the walk has not passed, so a snapshot costs memory for what changes meanwhile
and never a pause. Rows may be mutable: whoever changes one calls ``touch``
before, which costs one look while nothing is frozen.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from typing import Final, Generic, TypeVar

import msgspec

from raftlog.base.limits import KIB
from raftlog.broker.sorted_keys import K, SortedKeys

V = TypeVar("V")

CHUNK_BYTES_MAX: Final = 64 * KIB
"""Rows in one chunk: no row is larger."""
CHUNK_BYTES: Final = 32 * KIB
"""A chunk ends with the row that passes this: about a millisecond of work."""

_ENCODE: Final = msgspec.msgpack.Encoder().encode


class Table(Generic[K, V]):
    """Rows by key, in key order where asked.

    Args:
        encode: Makes a row's bytes, its key included; equal rows make equal ones.
    """

    __slots__ = ("_encode", "_order", "frozen", "rows")

    def __init__(self, encode: Callable[[V], bytes] = _ENCODE) -> None:
        self.rows: Final[dict[K, V]] = {}
        """For ``rows.get`` alone, where a method's call is too much."""
        self._encode = encode
        self._order: SortedKeys[K] = SortedKeys()
        self.frozen: Frozen[K, V] | None = None
        """None while nobody walks: then ``touch`` need not be called, where a call is too much."""

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows)

    def get(self, key: K) -> V | None:
        """Return the row, or None."""
        return self.rows.get(key)

    def touch(self, key: K) -> None:
        """Say that the row of ``key`` is about to change."""
        if self.frozen is not None:
            self.frozen.keep(key)

    def put(self, key: K, row: V) -> None:
        """Add or replace a row."""
        if self.frozen is not None:
            self.frozen.keep(key)
        if key not in self.rows:
            self._order.add(key)
        self.rows[key] = row

    def delete(self, key: K) -> V:
        """Remove the row, which is there."""
        if self.frozen is not None:
            self.frozen.keep(key)
            self.frozen.gone(key)
        self._order.remove(key)
        return self.rows.pop(key)

    def load(self, rows: Iterable[tuple[K, V]]) -> None:
        """Take these rows, in place of what a new table has."""
        self.rows.clear()
        self.rows.update(rows)
        self._order = SortedKeys(self.rows)

    def after(self, key: K | None) -> Iterator[V]:
        """Walk through the rows after ``key`` (None: all). Nothing may change meanwhile."""
        rows = self.rows
        return (rows[found] for found in self._order.after(key))

    def keys_after(self, key: K | None) -> Iterator[K]:
        """Walk through the keys likewise."""
        return self._order.after(key)

    def keys_before(self, key: K, count: int) -> list[K]:
        """Return the last ``count`` keys before ``key``, in order."""
        return self._order.before(key, count)

    def digest(self, state: "hashlib.blake2b") -> None:
        """Take every row into ``state``, in key order."""
        encode = self._encode
        state.update(len(self.rows).to_bytes(8, "little"))
        for row in self.after(None):
            state.update(encode(row))

    # -- snapshots

    def freeze(self) -> "Frozen[K, V]":
        """Hold the rows as they are now, until the walk over them has ended. One at a time."""
        assert self.frozen is None, "frozen already"
        self.frozen = Frozen(self.rows, self._encode, self._order.after, self._thaw)
        return self.frozen

    def _thaw(self) -> None:
        self.frozen = None


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Some rows in key order, as one MessagePack array."""

    rows: int
    data: bytes


class Frozen(Generic[K, V]):
    """A table's rows as they were when it was frozen."""

    __slots__ = (
        *("_encode", "_ended", "_gone", "_gone_order", "_old", "_passed", "_rows", "_thaw"),
        "_walk",
    )

    def __init__(
        self,
        rows: dict[K, V],
        encode: Callable[[V], bytes],
        walk: Callable[[K | None], Iterator[K]],
        thaw: Callable[[], None],
    ) -> None:
        self._rows: dict[K, V] = rows
        self._encode = encode
        self._walk: Callable[[K | None], Iterator[K]] = walk
        self._thaw = thaw
        self._old: dict[K, bytes | None] = {}
        self._gone: set[K] = set()
        self._gone_order: SortedKeys[K] = SortedKeys()
        """The same, in order: a chunk must not cost what all that have left cost."""
        self._passed: K | None = None
        self._ended = False

    def keep(self, key: K) -> None:
        """Keep the row as it is now, unless the walk has it or an older one is kept."""
        if key in self._old or (self._passed is not None and key <= self._passed):
            return
        row = self._rows.get(key)
        self._old[key] = None if row is None else self._encode(row)

    def gone(self, key: K) -> None:
        """The row leaves the table; the walk must still find its key."""
        if self._old.get(key) is not None and key not in self._gone:
            self._gone.add(key)
            self._gone_order.add(key)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows, in key order. Between two chunks the table may change."""
        ended = False
        while not (ended or self._ended):
            rows, ended = self._next()
            if rows:
                yield Chunk(len(rows), _array(rows))
        self.end()

    def end(self) -> None:
        """Let go of what is kept. Harmless when the walk has ended."""
        if not self._ended:
            self._ended = True
            self._old.clear()
            self._thaw()

    def _next(self) -> tuple[list[bytes], bool]:
        """Return the rows of the next chunk, and whether it is the last."""
        rows: list[bytes] = []
        size = 0
        for key in self._keys():
            row = self._old.pop(key) if key in self._old else self._encode(self._rows[key])
            self._passed = key
            if row is not None:
                rows.append(row)
                size += len(row)
            if size >= CHUNK_BYTES:
                return rows, False
        return rows, True

    def _keys(self) -> Iterator[K]:
        if not self._gone:
            return self._walk(self._passed)
        passed = self._passed
        return _distinct(merge(self._walk(passed), self._gone_order.after(passed)))


def _distinct(keys: Iterable[K]) -> Iterator[K]:
    """Yield ordered keys once each: one may have left and come back."""
    last: K | None = None
    for key in keys:
        if key != last:
            yield key
        last = key


def _array(rows: list[bytes]) -> bytes:
    """Return rows as one MessagePack array."""
    return b"".join((b"\xdd", len(rows).to_bytes(4, "big"), *rows))
