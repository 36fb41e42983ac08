"""Feeds committed entries to the state machine, in order, each once.

Apply has a budget per turn of the loop, in catch-up and restart too, so that a
long replay never delays a heartbeat (ruling 18). An exception of the machine
stops the replica before the entry: all replicas will stop there, and skipping
it would make this one differ from the others for ever. A caller that raises when
it is told its outcome stops the replica too, after the entry (``outward``).

Where the log begins behind the machine's state, nothing is applied until the machine
has been given a snapshot (``ports.Installs``).
"""

import traceback
from collections.abc import Callable, Sequence
from typing import Final

from raftlog.base.entry import Entry
from raftlog.base.errors import ApplyFailed, FaultyEntry
from raftlog.base.ids import Index
from raftlog.base.limits import APPLY_BUDGET_NS
from raftlog.node.log_reader import LogReader
from raftlog.node.ports import Machine, Scheduler
from raftlog.node.proposals import Outstanding
from raftlog.raft.log import LogView

ENTRIES_PER_LOOK: Final = 16
"""Entries that are applied between two looks at the clock."""


class Applier:
    """Applies one shard's committed entries."""

    def __init__(
        self,
        machine: Machine,
        log: LogView,
        reader: LogReader,
        scheduler: Scheduler,
        outstanding: Outstanding,
        *,
        durable: Callable[[], Index],
        on_progress: Callable[[Index], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        self.applied = machine.applied
        self._machine = machine
        self._log = log
        self._reader = reader
        self._scheduler = scheduler
        self._outstanding = outstanding
        self._durable = durable
        self._on_progress = on_progress
        self._on_failed = on_failed
        self._commit = machine.applied
        self._loaded: tuple[Entry, ...] = ()
        self._busy = False
        self._waits_for_writer = False
        self.stopped = False

    @property
    def lacks_state(self) -> bool:
        """Whether the log here does not lead on from the machine's state: it needs another one."""
        return self.applied < self._log.start.index

    def restored(self) -> None:
        """The machine has a later state, of an index that is committed: go on behind it."""
        self.applied = self._machine.applied
        self._on_progress(self.applied)
        self.resume()

    def advance(self, commit: Index) -> None:
        """Allow application through ``commit``; never goes back."""
        self._commit = max(self._commit, commit)
        if not self._busy:
            self._run()

    def advance_soon(self, commit: Index) -> None:
        """Allow application through ``commit``, once the current event has been handled."""
        self._commit = max(self._commit, commit)
        self._scheduler.defer(self.resume)

    def advance_later(self, commit: Index, *, writing: bool) -> None:
        """Allow application through ``commit``, after the write that is under way, if one is.

        On a follower nobody waits for apply, and the leader waits for its disk: the writer
        thread and the loop would only take the interpreter from each other. A second commit
        does not wait as well, because the disk may be slow.
        """
        self._commit = max(self._commit, commit)
        if writing and not self._waits_for_writer:
            self._waits_for_writer = True
        else:
            self._waits_for_writer = False
            self._scheduler.call_soon(self.resume)

    def written(self) -> None:
        """The write has ended."""
        if self._waits_for_writer:
            self._waits_for_writer = False
            self._scheduler.defer(self.resume)

    def resume(self) -> None:
        """Go on with what may be applied: a faulty entry was repaired, a write has ended."""
        if not self._busy:
            self._run()

    def _run(self) -> None:
        """Apply what is there, within the budget of one turn."""
        if self.stopped:
            return
        if self.lacks_state:
            self._busy = False
            return
        self._busy = True
        before = self.applied
        deadline_ns = 0
        in_time = True
        while self.applied < self._commit and in_time:
            entries = self._next()
            if not entries:
                break
            if not deadline_ns and entries[-1].index < self._commit:
                deadline_ns = self._scheduler.now_ns() + APPLY_BUDGET_NS
            if not self._apply(entries):
                return
            in_time = not deadline_ns or self._scheduler.now_ns() < deadline_ns
        self._busy = False
        if self.applied > before:
            self._on_progress(self.applied)
        if self.applied < self._commit and not self._busy:
            self._wait(in_time=in_time)

    def _next(self) -> Sequence[Entry]:
        """Return the next few committed entries, as far as they are in memory."""
        first = Index(self.applied + 1)
        last = Index(min(self._commit, self.applied + ENTRIES_PER_LOOK))
        entries: Sequence[Entry] = self._log.entries(first, last)
        if entries or not self._loaded:
            return entries
        position = first - self._loaded[0].index
        if not 0 <= position < len(self._loaded):
            self._loaded = ()
            return ()
        return self._loaded[position : position + ENTRIES_PER_LOOK]

    def _apply(self, entries: Sequence[Entry]) -> bool:
        apply = self._machine.apply
        told = self._outstanding.applied
        for entry in entries:
            try:
                outcomes = apply(entry)
            except Exception:  # noqa: BLE001  (whatever the machine raises, the replica stops here)
                self.stopped = True
                reason = f"the state machine raised\n{traceback.format_exc()}"
                self._on_failed(ApplyFailed(entry.index, reason))
                return False
            self.applied = entry.index
            try:
                told(entry.index, entry.term, outcomes)
            except AssertionError as error:
                self._on_failed(error)
            if self.stopped:
                return False  # whoever was told has ended this replica
        return True

    def _wait(self, *, in_time: bool) -> None:
        """Go on in the next turn, or once the next entries have been read from disk."""
        self._busy = True
        if not in_time:
            self._scheduler.call_soon(self._run)
            return
        last = min(self._commit, self._durable())
        first = Index(self.applied + 1)
        assert first <= last, f"entry {first} is neither in memory nor on disk (durable {last})"
        self._reader.read(first, last, self._on_loaded)

    def _on_loaded(self, entries: tuple[Entry, ...], error: Exception | None) -> None:
        self._busy = False
        if self.stopped:
            return
        if error is not None:
            if not isinstance(error, FaultyEntry):
                self._on_failed(error)
            return  # a faulty entry is fetched from a peer; ``resume`` is called then
        self._loaded = entries
        self._busy = True
        self._scheduler.call_soon(self._run)
