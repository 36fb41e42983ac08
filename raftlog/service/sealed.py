"""Sealed index ranges between the machine and their files, off the loop.

The machine cuts a range in apply and hands over its bytes here. They are stored
only once the log itself is durable on this replica up to the range's end: a
leader may apply before its own disk has the entry, and an index that is ahead of
its log would put holes into it (ruling 14). Until then the machine answers
from memory.

A failed write stops the node, like any other (R2); want of space does not. A range
that turns out damaged is not served: it is fetched from a peer, proven by its checksum, and read
again; readers wait. Without a peer that has it they are told, and the replica
makes it again, from its log, at its next start.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from raftlog.base.errors import (
    CorruptFrame,
    IncompatibleFormat,
    NoRoom,
    StorageError,
    Unavailable,
)
from raftlog.base.ids import Index
from raftlog.broker.index import Postings, RangeSummary, SealedRange
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.ranges import parse_range
from raftlog.node.ports import Reader, Scheduler, Timer
from raftlog.service.ports import OnPostings
from raftlog.storage.offset_index import OffsetIndex
from raftlog.storage.shard_files import FileKind, FileName, Verify

IndexFiles = OffsetIndex[RangeSummary, dict[int, Postings]]

Fetch = Callable[[FileName, Verify, Callable[[Exception | None], None]], None]
"""Replaces a damaged file by a peer's (``node.file_exchange``)."""

LATER_NS: Final = 100_000_000
"""A range whose log is not durable yet is looked at again after this, if nothing is applied."""


class SealedRanges:
    """Stores and loads the sealed ranges of one shard."""

    def __init__(
        self,
        machine: BrokerMachine,
        files: IndexFiles,
        reader: Reader,
        scheduler: Scheduler,
        *,
        durable: Callable[[], Index],
        fetch: Fetch,
        on_failed: Callable[[Exception], None],
    ) -> None:
        self._machine = machine
        self._files = files
        self._reader = reader
        self._scheduler = scheduler
        self._durable = durable
        self._fetch = fetch
        self._on_failed = on_failed
        self.on_stored: Callable[[], None] = lambda: None
        self._unstored: Final[deque[SealedRange]] = deque()
        self._storing = False
        self._timer: Timer | None = None
        self._stopped = False
        self._loading: Final[dict[Index, list[tuple[int, OnPostings]]]] = {}

    def are_stored(self, through: Index) -> bool:
        """Whether every range that ends at or before ``through`` is durable, and its log too."""
        unstored = self._unstored
        return through <= self._durable() and (not unstored or unstored[0].first_index > through)

    def progress(self) -> None:
        """More was applied, or more is durable: store what may be stored now."""
        self._unstored.extend(self._machine.take_sealed())
        if self._storing or not self._unstored:
            return
        sealed = self._unstored[0]
        if sealed.last_index > self._durable():
            self._look_later()
            return
        self._storing = True
        self._reader.submit(
            lambda: self._files.store(sealed.first_index, sealed.encoded),
            lambda _, error: self._stored(sealed, error),
        )

    def _look_later(self) -> None:
        """Look again soon: nothing may come after the entry that is durable only then."""
        if self._timer is None and not self._stopped:
            self._timer = self._scheduler.call_later(LATER_NS, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self.progress()

    def restored(self) -> None:
        """The machine has another state: what it sealed before is not stored any more."""
        self._unstored.clear()
        self._machine.take_sealed()

    def stop(self) -> None:
        """Set no timer any more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _stored(self, sealed: SealedRange, error: Exception | None) -> None:
        if isinstance(error, NoRoom):
            self._storing = False
            self._look_later()  # the machine answers from memory meanwhile
            return
        if error is not None:
            self._on_failed(error)
            return
        self._storing = False
        if self._unstored and self._unstored[0] is sealed:
            self._unstored.popleft()
            self._machine.stored(sealed.summary)
        self.progress()
        self.on_stored()

    def load(self, summary: RangeSummary, queue: int, done: OnPostings, /) -> None:
        """Find the queue's postings in a stored range that holds some.

        ``done`` is called before this returns if the range is in memory. Reads
        of the same range that come meanwhile share one look at the disk.
        """
        found = self._files.cached(summary.first_index)
        if found is not None:
            done(found[queue], None)
            return
        waiting = self._loading.setdefault(summary.first_index, [])
        waiting.append((queue, done))
        if len(waiting) == 1:
            self._read(summary)

    def verify(self, summary: RangeSummary, done: Callable[[bool], None], /) -> None:
        """Look whether a stored range is good on disk; fetch it from a peer if not.

        ``done`` is told whether it was good.
        """

        def looked(
            found: tuple[RangeSummary, dict[int, Postings]] | None, error: Exception | None
        ) -> None:
            good = found is not None and found[0] == summary
            if error is not None and not isinstance(error, StorageError):
                self._on_failed(error)
            elif not good:
                self._repair(summary, lambda _: None)
            done(good)

        self._reader.submit(lambda: self._files.read(summary.first_index), looked)

    def _read(self, summary: RangeSummary, *, repaired: bool = False) -> None:
        self._reader.submit(
            lambda: self._files.read(summary.first_index),
            lambda loaded, error: self._loaded(summary, loaded, error, repaired=repaired),
        )

    def _repair(self, summary: RangeSummary, done: Callable[[Exception | None], None]) -> None:
        name = FileName(FileKind.RANGE, summary.first_index)
        self._fetch(name, lambda data: _is_range(data, summary), done)

    def _loaded(
        self,
        summary: RangeSummary,
        loaded: tuple[RangeSummary, dict[int, Postings]] | None,
        error: Exception | None,
        *,
        repaired: bool,
    ) -> None:
        if loaded is None or loaded[0] != summary:
            if error is not None and not isinstance(error, StorageError):
                self._on_failed(error)
            elif not repaired:
                self._repair(summary, lambda failed: self._fetched(summary, failed))
                return
            self._give_up(summary, error)
            return
        waiting = self._loading.pop(summary.first_index)
        self._files.keep(summary.first_index, loaded[1])
        for queue, done in waiting:
            done(loaded[1][queue], None)

    def _fetched(self, summary: RangeSummary, failed: Exception | None) -> None:
        if failed is None:
            self._read(summary, repaired=True)
        else:
            self._give_up(summary, failed)

    def _give_up(self, summary: RangeSummary, error: Exception | None) -> None:
        reason = f"index range {summary.first_index} is damaged here ({error}); ask another node"
        for _, done in self._loading.pop(summary.first_index):
            done(None, Unavailable(reason))


def _is_range(data: bytes, summary: RangeSummary) -> bool:
    try:
        found, _ = parse_range(data)
    except (CorruptFrame, IncompatibleFormat):
        return False
    return found == summary
