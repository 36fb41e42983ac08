"""Feeds committed entries to the state machine, in order, each once.

Apply has a budget per turn of the loop, in catch-up and restart too, so that a
long replay never delays a heartbeat (ruling 18). An exception of the machine
stops the replica before the entry: all replicas will stop there, and skipping
it would make this one differ from the others for ever.
"""

import traceback
from collections.abc import Callable

from raftlog.base.entry import Entry
from raftlog.base.errors import ApplyFailed, FaultyEntry
from raftlog.base.ids import Index
from raftlog.base.limits import APPLY_BUDGET_NS
from raftlog.node.log_reader import LogReader
from raftlog.node.ports import Machine, Scheduler
from raftlog.node.proposals import Outstanding
from raftlog.raft.log import LogView


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
        self.stopped = False

    def advance(self, commit: Index) -> None:
        """Allow application through ``commit``; never goes back."""
        self._commit = max(self._commit, commit)
        if not self._busy:
            self._run()

    def resume(self) -> None:
        """Try again after a faulty entry was repaired."""
        if not self._busy:
            self._run()

    def _run(self) -> None:
        """Apply what is there, within the budget of one turn."""
        if self.stopped:
            return
        self._busy = True
        before = self.applied
        deadline_ns = self._scheduler.now_ns() + APPLY_BUDGET_NS
        in_time = True
        while self.applied < self._commit and in_time:
            entry = self._next()
            if entry is None:
                break
            if not self._apply(entry):
                return
            in_time = self._scheduler.now_ns() < deadline_ns
        self._busy = False
        if self.applied > before:
            self._on_progress(self.applied)
        if self.applied < self._commit and not self._busy:
            self._wait(in_time=in_time)

    def _next(self) -> Entry | None:
        index = Index(self.applied + 1)
        entry = self._log.entry(index)
        if entry is None and self._loaded:
            position = index - self._loaded[0].index
            if 0 <= position < len(self._loaded):
                return self._loaded[position]
            self._loaded = ()
        return entry

    def _apply(self, entry: Entry) -> bool:
        try:
            outcomes = self._machine.apply(entry)
        except Exception:  # noqa: BLE001  (whatever the machine raises, the replica stops here)
            self.stopped = True
            reason = f"the state machine raised\n{traceback.format_exc()}"
            self._on_failed(ApplyFailed(entry.index, reason))
            return False
        self.applied = entry.index
        self._outstanding.applied(entry.index, entry.term, outcomes)
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
