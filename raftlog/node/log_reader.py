"""Entries by index, from wherever they are, without ever blocking the loop (ruling 17).

First the memory tail; then the file, if the page cache has it; then the reader
thread. What comes from a file is verified entry by entry; a bad one is marked
faulty and reported, never handed out (R3).
"""

from collections.abc import Callable

from raftlog.base.entry import Buffer, Entry
from raftlog.base.errors import FaultyEntry, StorageError
from raftlog.base.ids import Index
from raftlog.base.limits import READ_SPAN_BYTES_MAX
from raftlog.node.ports import Reader
from raftlog.storage.log_store import LogStore
from raftlog.storage.span import ReadSpan

OnEntries = Callable[[tuple[Entry, ...], Exception | None], None]
"""Called once: entries from the asked index on, at least one, or none and the reason."""


class LogReader:
    """Reads one shard's stored entries."""

    def __init__(
        self, store: LogStore, reader: Reader, on_faulty: Callable[[Index], None]
    ) -> None:
        self._store = store
        self._reader = reader
        self._on_faulty = on_faulty

    def read(
        self, first: Index, last: Index, done: OnEntries, bytes_max: int = READ_SPAN_BYTES_MAX
    ) -> None:
        """Read durable entries from ``first``, up to ``last`` or ``bytes_max``.

        ``done`` may be called before this returns, if nothing had to be waited for.
        """
        span = self._locate(first, last, bytes_max, done)
        if span is None:
            return
        try:
            buffer = span.read(wait=False)
        except OSError as unreadable:
            self._finish(span, first, None, unreadable, done)
            return
        if buffer is not None:
            self._finish(span, first, buffer, None, done)
            return
        self._read_on_thread(span, first, done)

    def read_idly(self, first: Index, last: Index, done: OnEntries, bytes_max: int) -> None:
        """Read on the reader thread, whatever the page cache has: nobody waits for this."""
        span = self._locate(first, last, bytes_max, done)
        if span is not None:
            self._read_on_thread(span, first, done)

    def _locate(
        self, first: Index, last: Index, bytes_max: int, done: OnEntries
    ) -> ReadSpan | None:
        try:
            return self._store.locate(first, last, bytes_max)
        except StorageError as error:
            done((), error)
            return None

    def _read_on_thread(self, span: ReadSpan, first: Index, done: OnEntries) -> None:
        truncations = self._store.truncations

        def finish(found: Buffer | None, error: Exception | None) -> None:
            if self._store.truncations != truncations:
                # What was there was replaced meanwhile; whoever still wants it asks again.
                span.close()
                done((), None)
                return
            self._finish(span, first, found, error, done)

        self._reader.submit(lambda: span.read(wait=True), finish)

    def _finish(
        self,
        span: ReadSpan,
        first: Index,
        buffer: Buffer | None,
        error: Exception | None,
        done: OnEntries,
    ) -> None:
        entries: tuple[Entry, ...] = ()
        if isinstance(error, OSError):
            # A read error is damage like any other: a peer has another copy (storage.md 5).
            error = FaultyEntry(first)
            self._on_faulty(first)
        try:
            if buffer is not None:
                entries = span.entries(buffer)
        except FaultyEntry as faulty:
            error = faulty
            self._on_faulty(Index(faulty.index))
        finally:
            span.close()
        done(entries, error)
