"""What must hold of a log after a crash (storage.md, 1 to 4).

What was reported durable is there, or is known to be damaged where damage was
done; the log is a prefix of what was written; nothing is invented; nothing that
no disk damaged is called damaged; term and vote are never older than promised;
damage can be repaired; the log goes on, and what it takes in then lasts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from chaos.crash.recording import demand
from chaos.sim.disk import CrashKind, SimDisk
from raftlog.base.entry import Entry, EntryKind, seal
from raftlog.base.errors import FaultyEntry
from raftlog.base.ids import Index, Term, WriteNumber
from raftlog.base.writes import HardState, WriteEntries
from raftlog.storage.directory import DataDirectory
from raftlog.storage.log_store import LogStore, StoreOptions

DIRECTORY: Final = "data"
SHARD: Final = "data/shards/0"
READ_BYTES: Final = 1 << 20

Log = tuple[Entry, ...]


@dataclass(frozen=True)
class LogPromise:
    """What must and what may be found of a log."""

    options: StoreOptions
    durable: Log
    """The log that was reported durable, entry 1 first."""
    kept: int
    """How many of its entries no plan under way may cut."""
    states: tuple[HardState, ...]
    """The promised hard state, and those that are being written."""
    possible: tuple[Log, ...] = ()
    """The log after each write of the plan under way."""
    reset: Log = ()
    """What the log begins behind, and nothing else, once the reset under way was made."""
    trimmed: int = 0
    """Entries that a trim, done or under way, may have dropped."""
    damaged: frozenset[int] = frozenset()
    """Entries that were damaged on purpose, and not repaired since."""

    def open(self, disk: SimDisk) -> LogStore:
        """Open the log as a node does."""
        files = disk.files()
        DataDirectory.open(DIRECTORY, files=files).close()
        return LogStore.open(files, SHARD, self.options)

    def recover(self, disk: SimDisk) -> None:
        """Do what a process does when it starts on ``disk``."""
        self.open(disk)

    def check(self, disk: SimDisk) -> int:
        """Recover, and hold what is found against the promise."""
        before = disk.operations
        store = self.open(disk)
        operations = disk.operations - before
        self.check_store(store)
        check_goes_on(disk, store, self)
        return operations

    def check_store(self, store: LogStore) -> None:
        """Hold an open log against the promise, and repair what is damaged in it."""
        found = read_log(store)
        log = self._check_log(store, found)
        demand(f"hard state {store.hard_state}", holds=store.hard_state in self.states)
        kept = max(self.kept, len(self.reset))
        demand(f"commit hint {store.commit_hint}", holds=store.commit_hint <= kept)
        for first, last in store.faulty_ranges():
            inside = self.damaged.issuperset(range(first, last + 1))
            demand(f"entries {first} to {last} are called damaged", holds=inside)
        repair(store, log)

    def _check_log(self, store: LogStore, found: Sequence[Entry | None]) -> Log:
        start = store.start.index
        if self.reset and store.start == self.reset[-1].end:
            demand(f"{len(found)} entries in a log that is new", holds=not found)
            rows = [row.index for row in store.configurations]
            demand("a new log does not know its members", holds=rows[-1:] == [start])
            return self.reset
        demand(f"log starts at {start}, trimmed to {self.trimmed}", holds=start <= self.trimmed)
        whole = start + len(found)
        demand(f"{self.kept} entries were promised, {whole} found", holds=whole >= self.kept)
        for log in (self.durable, *self.possible):
            if whole <= len(log) and _is_part(found, log[start:whole]):
                return log[:whole]
        demand(f"a log of {whole} entries that was never written", holds=False)
        return ()


def _is_part(found: Sequence[Entry | None], written: Sequence[Entry]) -> bool:
    return all(
        entry is None or entry.frame == there.frame
        for entry, there in zip(found, written, strict=True)
    )


def read_log(store: LogStore) -> list[Entry | None]:
    """Return every retained entry, None where it is damaged; whatever is found so is marked."""
    found: list[Entry | None] = []
    index = store.first_index
    while index <= store.end.index:
        entries: Sequence[Entry] = ()
        try:
            span = store.locate(index, store.end.index, READ_BYTES)
            try:
                entries = span.entries(span.read(wait=True) or b"")
            finally:
                span.close()
        except FaultyEntry:
            store.mark_faulty(index)
        found.extend(entries or [None])
        index = Index(index + max(1, len(entries)))
    return found


def repair(store: LogStore, log: Log) -> None:
    """Fill every hole as a peer would that has the whole log."""
    for first, last in store.faulty_ranges():
        plan = store.plan_repair(log[first - 1 : last])
        demand(f"entries {first} to {last} cannot be repaired", holds=plan is not None)
        if plan is not None:
            plan.perform()
            store.complete(plan)
    demand("a repaired log is damaged", holds=None not in read_log(store))


def check_goes_on(disk: SimDisk, store: LogStore, promise: LogPromise) -> None:
    """Append, cut the power, and find it again."""
    end = store.end
    entry = seal(
        *(EntryKind.COMMANDS, Term(end.term + 1000), Index(end.index + 1), end.checksum),
        [b"after the crash"],
    )
    plan = store.plan([WriteEntries(WriteNumber(1), None, (entry,))], Index(0))
    plan.perform()
    store.complete(plan)
    disk.crash(Random(0), CrashKind.LOSE)
    again = promise.open(disk)
    demand("an append after recovery was lost", holds=again.end == entry.end)
    demand("damage is there again after its repair", holds=not again.faulty_count)
