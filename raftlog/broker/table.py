"""Tables: all replicated state that is not the queue index (ruling 18).

A table can be *frozen* while it goes on changing::

    freeze      | a=1 b=2 c=3            old: -
    b=5, d=4    | a=1 b=5 c=3 d=4        old: b=2, d=absent
    walk        | chunk: a=1, b=2 (from old), c=3; d is skipped

The first change of a key keeps the row's old encoding, and only for keys that
the walk has not passed, so a snapshot costs memory for what changes meanwhile
and never a pause. Rows may be mutable: whoever changes one calls ``touch``
before, which costs one look while nothing is frozen.

A table whose rows stay for long says where *runs* of them end: what is as it was in the
snapshot before is not encoded again (``encoded_runs``).
"""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from raftlog.base.limits import KIB
from raftlog.broker.encoded_runs import Chunk, EncodedRuns
from raftlog.broker.sorted_keys import K, SortedKeys

V = TypeVar("V")

CHUNK_BYTES_MAX: Final = 64 * KIB
"""Rows in one chunk: no row is larger."""
CHUNK_BYTES: Final = 32 * KIB
"""A chunk ends with the row that passes this: about a millisecond of work at most."""
KEYS_AT_ONCE: Final = 1_024
"""Rows that are encoded at a time."""
LOOK_KEYS: Final = 256
"""Keys among which the end of a run is looked for at a time."""

_ENCODE: Final = msgspec.msgpack.Encoder().encode


class Table(Generic[K, V]):
    """Rows by key, in key order where asked.

    Args:
        encode: Makes a row's bytes, its key included; equal rows make equal ones.
        end_of_run: Where among keys a run ends, as ``EncodedRuns`` has it; None: there are no
            runs, and each snapshot encodes every row.
    """

    __slots__ = ("_encode", "_order", "_runs", "frozen", "rows")

    def __init__(
        self,
        encode: Callable[[V], bytes] = _ENCODE,
        end_of_run: Callable[[Sequence[K]], int] | None = None,
    ) -> None:
        self.rows: Final[dict[K, V]] = {}
        """For ``rows.get`` alone, where a method's call is too much."""
        self._encode = encode
        self._order: SortedKeys[K] = SortedKeys()
        self._runs: EncodedRuns[K] | None = None if end_of_run is None else EncodedRuns(end_of_run)
        self.frozen: Frozen[K, V] | None = None
        """None while nobody walks: then ``touch`` need not be called, where a call is too much
        and the table has no runs."""

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
        if self._runs is not None:
            self._runs.change(key)

    def put(self, key: K, row: V) -> None:
        """Add or replace a row."""
        self.touch(key)
        if key not in self.rows:
            self._order.add(key)
        self.rows[key] = row

    def delete(self, key: K) -> V:
        """Remove the row, which is there."""
        self.touch(key)
        if self.frozen is not None:
            self.frozen.gone(key)
        self._order.remove(key)
        return self.rows.pop(key)

    def load(self, rows: Iterable[tuple[K, V]]) -> None:
        """Take these rows, in place of what a new table has."""
        self.rows.clear()
        self.rows.update(rows)
        self._order = SortedKeys(self.rows)
        if self._runs is not None:
            self._runs.clear()

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
        self.frozen = Frozen(self.rows, self._encode, self._order, self._runs, self._thaw)
        return self.frozen

    def _thaw(self) -> None:
        self.frozen = None


PAUSE: Final = Chunk(0, b"")
"""No rows yet."""


class Frozen(Generic[K, V]):
    """A table's rows as they were when it was frozen."""

    __slots__ = (
        *("_encode", "_ended", "_gone", "_gone_order", "_old", "_order", "_passed", "_row_bytes"),
        *("_rows", "_runs", "_thaw"),
    )

    def __init__(
        self,
        rows: dict[K, V],
        encode: Callable[[V], bytes],
        order: SortedKeys[K],
        runs: EncodedRuns[K] | None,
        thaw: Callable[[], None],
    ) -> None:
        self._rows: dict[K, V] = rows
        self._encode = encode
        self._order: SortedKeys[K] = order
        self._runs: EncodedRuns[K] | None = runs
        self._thaw = thaw
        self._old: dict[K, bytes | None] = {}
        self._gone: set[K] = set()
        self._gone_order: SortedKeys[K] = SortedKeys()
        """The same, in order: a chunk must not cost what all that have left cost."""
        self._passed: K | None = None
        self._row_bytes = 64
        """A guess, by the rows of this chunk and the ones before."""
        self._ended = False

    def keep(self, key: K) -> None:
        """Keep the row as it is now, unless the walk has it or an older one is kept."""
        if key in self._old or (self._passed is not None and key <= self._passed):
            return
        row = self._rows.get(key)
        self._old[key] = None if row is None else self._encode(row)

    def gone(self, key: K) -> None:
        """The row leaves the table; the walk must still find its key, if it was there before."""
        if self._old.get(key) is None:
            self._old.pop(key, None)
        elif key not in self._gone:
            self._gone.add(key)
            self._gone_order.add(key)

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows, in key order. Between two chunks the table may change.

        Where a chunk ends is told by the rows alone, so equal tables have equal chunks. One
        without rows is a pause, where many keys were passed that are new since the freeze.
        """
        yield from self._full_chunks() if self._runs is None else self._chunks_by_run(self._runs)
        self.end()

    def _full_chunks(self) -> Iterator[Chunk]:
        """Yield the rows, as many in each chunk as may be.

        Rows are encoded many at a time, which costs half of one by one: as many as are
        guessed to be wanting, and fewer when it turns out that the chunk ends before.
        """
        pieces: list[bytes] = []
        rows = size = passed = 0
        while not self._ended:
            wanting = CHUNK_BYTES - size
            wanted = min(max(wanting // self._row_bytes, 1), KEYS_AT_ONCE)
            keys = self._keys_behind(self._passed, wanted)
            if not keys:
                break
            encoded, count = self._encoded(keys)
            while len(encoded) >= wanting and len(keys) > 1:
                fewer = len(keys) * wanting // len(encoded)
                keys = keys[: min(max(fewer, 1), len(keys) - 1)]
                encoded, count = self._encoded(keys)
            self._pass(keys)
            passed += len(keys)
            if count:
                pieces.append(encoded)
                rows += count
                size += len(encoded)
                self._row_bytes = 1 + size // rows
            if size >= CHUNK_BYTES:
                yield _chunk_of(pieces, rows)
                pieces, rows, size, passed = [], 0, 0, 0
            elif passed >= KEYS_AT_ONCE:
                passed = 0
                yield PAUSE
        if rows and not self._ended:
            yield _chunk_of(pieces, rows)

    def _chunks_by_run(self, runs: EncodedRuns[K]) -> Iterator[Chunk]:
        """Yield the rows run by run: no chunk goes on over the end of one."""
        while not self._ended:
            before = self._passed
            known = runs.behind(before)
            if known is not None:  # it is as it was when it was encoded, so as at the freeze too
                self._passed, chunks = known
                yield from chunks
                continue
            keys, is_whole, is_same = yield from self._next_run(runs)
            if not keys:
                break
            chunks = self._chunks_of(keys)
            self._pass(keys)
            # Who ended the run before may have left: then this run will be a longer one.
            if is_whole and is_same and (before is None or before in self._rows):
                runs.store(before, keys[-1], chunks)
            yield from chunks

    def _next_run(
        self, runs: EncodedRuns[K]
    ) -> Generator[Chunk, None, tuple[list[K], bool, bool]]:
        """Gather the keys that come next, through the first that ends a run. Yields pauses.

        Returns:
            The keys that were there at the freeze; whether the last one ends a run; and whether
            between the walk and it all is as it was.
        """
        old, end_of = self._old, runs.end_of
        keys: list[K] = []
        looked = self._passed
        new = 0
        while not self._ended:
            found = here = self._keys_behind(looked, LOOK_KEYS)
            if old and not old.keys().isdisjoint(found):
                here = [key for key in found if old.get(key, b"") is not None]
                new += len(found) - len(here)
            end = end_of(here)
            if end:
                keys += here[:end]
                return keys, True, not new and (not old or old.keys().isdisjoint(keys))
            keys += here
            if len(found) < LOOK_KEYS:
                return keys, False, False
            looked = found[-1]
            if new >= KEYS_AT_ONCE:
                new = 1
                yield PAUSE
        return [], False, False

    def _chunks_of(self, keys: list[K]) -> Sequence[Chunk]:
        """Return the rows of one run, in chunks."""
        encoded, count = self._encoded(keys)
        if len(encoded) < CHUNK_BYTES:
            return (_chunk_of([encoded], count),)
        chunks: list[Chunk] = []
        pieces: list[bytes] = []
        size = 0
        for key in keys:
            pieces.append(self._encoded([key])[0])
            size += len(pieces[-1])
            if size >= CHUNK_BYTES or key == keys[-1]:
                chunks.append(_chunk_of(pieces, len(pieces)))
                pieces, size = [], 0
        return chunks

    def end(self) -> None:
        """Let go of what is kept. Harmless when the walk has ended."""
        if not self._ended:
            self._ended = True
            self._old.clear()
            self._thaw()

    def _encoded(self, keys: list[K]) -> tuple[bytes, int]:
        """Return the rows of some keys as they were, one behind the other, and how many."""
        old, encode = self._old, self._encode
        rows: dict[K, V] = self._rows
        if encode is _ENCODE and (not old or old.keys().isdisjoint(keys)):
            return _without_header(_ENCODE([*map(rows.__getitem__, keys)]), len(keys)), len(keys)
        found = [old[key] if key in old else encode(rows[key]) for key in keys]
        there = [row for row in found if row is not None]
        return b"".join(there), len(there)

    def _pass(self, keys: list[K]) -> None:
        """The walk has these: no older row of them need be kept."""
        self._passed = keys[-1]
        if self._old:
            for key in keys:
                self._old.pop(key, None)

    def _keys_behind(self, before: K | None, count: int) -> list[K]:
        """Return the next keys, of rows that have left meanwhile too."""
        keys = self._order.next(before, count)
        if not self._gone:
            return keys
        gone = self._gone_order.next(before, count)
        if not gone or (len(keys) == count and gone[0] > keys[-1]):
            return keys
        return SortedKeys(set(keys).union(gone)).next(
            None, count
        )  # one may have left and come back


def _without_header(array: bytes, count: int) -> bytes:
    """Return the elements of a MessagePack array of ``count``."""
    return array[1 if count < 1 << 4 else 3 if count < 1 << 16 else 5 :]


def _chunk_of(pieces: list[bytes], count: int) -> Chunk:
    """Return encoded rows as one MessagePack array."""
    return Chunk(count, b"".join((b"\xdd", count.to_bytes(4, "big"), *pieces)))
