"""Looks for damage that nobody has met yet, slowly, before a second replica is damaged too.

A pass reads the log from its start to its end, entry by entry, then whatever files the service
has named; then it rests. All reads are on the reader thread, one at a time, at a bounded rate.
What is found goes the way of any damage: it is marked, and fetched from a peer. A look at what
the page cache holds says little about the disk; most of a large log is not in it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from raftlog.base.entry import Entry
from raftlog.base.errors import FaultyEntry
from raftlog.base.ids import Index
from raftlog.base.limits import (
    SCRUB_BYTES_PER_S,
    SCRUB_FAST_BYTES_PER_S,
    SCRUB_REST_NS,
    SCRUB_SPAN_BYTES,
)
from raftlog.node.log_reader import LogReader
from raftlog.node.ports import Scheduler, Timer
from raftlog.storage.log_store import LogStore

FILE_BYTES: Final = 2 * 1024 * 1024
"""What a look at a file counts for in the rate; its size is not known beforehand."""
Check = Callable[[Callable[[bool], None]], None]
"""Looks at one file, and tells whether it was good; has it repaired if not."""


class Scrubber:
    """Scrubs one replica's log and files.

    Attributes:
        files: Set by the service: what to look at besides the log.
        on_looked: Told after each look at the log. Where entries lie is found out by reading a
            whole segment: damage may be known then that is in none of the entries asked for.
        rest_ns: The time between two passes.
        passes: Finished passes since the start.
        bytes: Bytes of entries that were looked at.
        found: Damaged entries and files that were found.
    """

    def __init__(self, store: LogStore, reader: LogReader, scheduler: Scheduler) -> None:
        self._store = store
        self._reader = reader
        self._scheduler = scheduler
        self._timer: Timer | None = None
        self._next: Index | None = None
        """The entry to look at next; None between two passes."""
        self._checks: deque[Check] = deque()
        self._fast = False
        self._stopped = False
        self.files: Callable[[], Sequence[Check]] = lambda: ()
        self.on_looked: Callable[[], None] = lambda: None
        self.rest_ns = SCRUB_REST_NS
        self.rate = SCRUB_BYTES_PER_S
        self.passes = 0
        self.bytes = 0
        self.found = 0

    @property
    def is_running(self) -> bool:
        """Whether a pass is under way."""
        return self._next is not None

    def start(self) -> None:
        """Begin the first pass after a rest: a start has read enough."""
        self._later(self.rest_ns, self._begin)

    def scrub_now(self) -> int:
        """Begin a pass, or hurry the one under way; return the number that it will have."""
        self._fast = True
        if not self.is_running and not self._stopped:
            if self._timer is not None:
                self._timer.cancel()
            self._begin()
        return self.passes + 1

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        self._next = self._store.first_index
        self._later(0, self._look_at_log)

    def _look_at_log(self) -> None:
        assert self._next is not None, "a look at the log between two passes"
        first = max(self._next, self._store.first_index)
        last = self._store.durable_end.index
        if first > last:
            self._checks = deque(self.files())
            self._look_at_files()
            return

        def looked(entries: tuple[Entry, ...], error: Exception | None) -> None:
            size = sum(entry.size for entry in entries)
            self.bytes += size
            # The index moves on even if nothing was read: what was truncated meanwhile is new.
            self._next = Index(first + max(1, len(entries)))
            if isinstance(error, FaultyEntry):
                self.found += 1
                self._next = self._after_damage(first)
            self.on_looked()
            self._pause(size, self._look_at_log)

        self._reader.read_idly(first, last, looked, SCRUB_SPAN_BYTES)

    def _after_damage(self, index: Index) -> Index:
        for hole in self._store.holes():
            if hole.first <= index <= hole.last:
                return Index(hole.last + 1)
        return Index(index + 1)

    def _look_at_files(self) -> None:
        if not self._checks:
            self._end()
            return

        def looked(good: bool) -> None:  # noqa: FBT001  (as a check tells it)
            self.found += not good
            self._pause(FILE_BYTES, self._look_at_files)

        self._checks.popleft()(looked)

    def _end(self) -> None:
        self._next = None
        self._fast = False
        self.passes += 1
        self._later(self.rest_ns, self._begin)

    def _pause(self, size: int, then: Callable[[], None]) -> None:
        rate = SCRUB_FAST_BYTES_PER_S if self._fast else self.rate
        self._later(max(size, 1) * 1_000_000_000 // rate, then)

    def _later(self, delay_ns: int, then: Callable[[], None]) -> None:
        if not self._stopped:
            self._timer = self._scheduler.call_later(delay_ns, then)
