"""Every way in which a power cut can leave the log, recovered by the real code.

A workload of appends, rolls, truncations, trims, resets (a snapshot was installed)
and hard-state changes runs on the simulated disk. After *every* operation on a file
the disk is copied; every copy is crashed in every class (all kept, all lost, any
subset of what was not synced, torn at sectors), opened by the real recovery, and held
against what had been promised at that moment. Then recovery itself is crashed at one of its own
operations, and opened again.

The contract (storage.md, 1 to 4): what was reported durable is there; the log
is a prefix of what was written; nothing is invented; nothing that no disk
damaged is called damaged; term and vote are never older than promised; the log
goes on.

    python -m chaos.check.crash_states --states 50000
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final

from chaos.sim.disk import CrashKind, Killed, SimDisk
from raftlog.base.entry import Entry, EntryKind, LogEnd, seal
from raftlog.base.errors import DirectoryUnformatted
from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId, Term, WriteNumber
from raftlog.base.writes import HardState, ResetLog, SaveHardState, Write, WriteEntries
from raftlog.storage.directory import DataDirectory, form_cluster
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.plan import StorePlan

DIRECTORY: Final = "data"
SHARD: Final = "data/shards/0"
OPTIONS: Final = StoreOptions(segment_bytes=1024)
NODE: Final = NodeId("n1")
VOTES: Final = tuple(ReplicaId(NodeId(f"n{n}"), DirectoryId(f"d{n}")) for n in (1, 2))


class ContractBroken(AssertionError):
    """What recovery made of a crash is not what was promised."""


@dataclass
class Promise:
    """What must and what may be found after a crash at some moment."""

    durable: list[int] = field(default_factory=list)
    """Checksums of the log that was reported durable, entry 1 first."""
    kept: int = 0
    """How many of them no plan under way may cut."""
    possible: tuple[list[int], ...] = ()
    """The log after each write of the plan under way."""
    trimmed: int = 0
    """Entries that a trim, done or under way, may have dropped."""
    reset_to: int = 0
    """Where the log begins if the reset under way was made: it is then empty, and the old one
    gone."""
    states: tuple[HardState, ...] = ()
    """The promised hard state, and those that are being written."""
    formatted: bool = False

    def fork(self) -> "Promise":
        """Return a copy."""
        return Promise(
            *(list(self.durable), self.kept, self.possible, self.trimmed, self.reset_to),
            *(self.states, self.formatted),
        )


@dataclass
class Snapshot:
    """A disk between two operations, and what had been promised by then."""

    disk: SimDisk
    promise: Promise
    what: str


class Workload:
    """Drives a store through everything it can do, and copies the disk at every step."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.disk = SimDisk()
        self.promise = Promise()
        self.snapshots: list[Snapshot] = []
        self.what = "formation"
        self._write = 0
        self._term = 1
        self._commit = 1
        self.disk.after_operation = self._snap

    def run(self, steps: int) -> list[Snapshot]:
        """Form a directory, work in it, and return every state on the way."""
        self._snap()
        _form(self.disk, 1)
        store = LogStore.open(self.disk.files(), SHARD, OPTIONS)
        first = store.locate(Index(1), Index(1), 1)
        entry = first.entries(first.read(wait=True) or b"")[0]
        first.close()
        log = [entry]
        self._promised(store, log)
        self.promise.formatted = True
        for _ in range(steps):
            log = self._step(store, log)
        return self.snapshots

    def _step(self, store: LogStore, log: list[Entry]) -> list[Entry]:
        kind = self.random.choices(
            ["append", "burst", "truncate", "vote", "trim", "mark", "reopen", "reset"],
            [8, 3, 3, 2, 1, 1, 1, 1],
        )[0]
        self.what = kind
        if kind == "trim":
            through = Index(
                self.random.randint(store.start.index, max(self._commit, store.start.index))
            )
            self.promise.trimmed = max(self.promise.trimmed, through)
            self._perform(store, store.plan_trim(through))
        elif kind == "reset":
            log = self._reset(store, log)
        elif kind == "mark":
            plan = store.plan_mark()
            if plan is not None:
                self._perform(store, plan)
        elif kind == "reopen":
            closing = store.plan_close()
            self._perform(store, closing)
            store.__dict__.update(LogStore.open(self.disk.files(), SHARD, OPTIONS).__dict__)
        else:
            log = self._writes(store, log, kind)
        self._promised(store, log)
        return log

    def _reset(self, store: LogStore, log: list[Entry]) -> list[Entry]:
        """Begin anew behind an entry that another log has: behind this one's end, or before it."""
        kept = max(self._commit, store.start.index)
        self._term += 1
        after = log[:kept]
        after.extend(self._entries(after))
        self.promise.kept = kept
        self.promise.reset_to = len(after)
        write = ResetLog(self._number(), after[-1].end)
        self._perform(store, store.plan([write], Index(self._commit)))
        self._commit = self.promise.trimmed = len(after)
        self.promise.reset_to = 0
        return after

    def _writes(self, store: LogStore, log: list[Entry], kind: str) -> list[Entry]:
        writes: list[Write] = []
        kept = len(log)
        states = [store.hard_state]
        after = list(log)
        possible: list[list[int]] = []
        if kind == "vote":
            self._term += 1
            vote = self.random.choice([None, *VOTES])
            states.append(HardState(Term(self._term), vote))
            writes.append(SaveHardState(self._number(), states[-1]))
        for _ in range(3 if kind == "burst" else 1):
            truncate_to = None
            if kind == "truncate" or (kind == "burst" and self.random.random() < 0.3):
                low = max(self._commit, store.start.index, len(after) - 6)
                if low <= len(after):
                    truncate_to = Index(self.random.randint(low, len(after)))
                    kept = min(kept, truncate_to)
                    del after[truncate_to:]
                    self._term += 1
            entries = self._entries(after)
            writes.append(WriteEntries(self._number(), truncate_to, entries))
            after.extend(entries)
            possible.append([entry.checksum for entry in after])
        self.promise.kept = kept
        self.promise.possible = tuple(possible)
        self.promise.states = tuple(states)
        self._commit = max(self._commit, kept - 4, store.start.index)
        self._perform(store, store.plan(writes, Index(self._commit)))
        return after

    def _entries(self, log: Sequence[Entry]) -> tuple[Entry, ...]:
        made: list[Entry] = []
        end: LogEnd = log[-1].end
        for _ in range(self.random.randint(1, 4)):
            body = self.random.randbytes(self.random.choice([0, 5, 40, 150, 400]))
            entry = seal(
                *(EntryKind.COMMANDS, Term(self._term), Index(end.index + 1)),
                *(end.checksum, [body]),
            )
            made.append(entry)
            end = entry.end
        return tuple(made)

    def _perform(self, store: LogStore, plan: StorePlan) -> None:
        plan.perform()
        store.complete(plan)

    def _promised(self, store: LogStore, log: Sequence[Entry]) -> None:
        assert store.durable_end.index == len(log), "the workload and the store disagree"
        self.promise.durable = [entry.checksum for entry in log]
        self.promise.possible = ()
        self.promise.kept = len(log)
        self.promise.states = (store.hard_state,)

    def _number(self) -> WriteNumber:
        self._write += 1
        return WriteNumber(self._write)

    def _snap(self) -> None:
        self.snapshots.append(Snapshot(self.disk.fork(), self.promise.fork(), self.what))


def _form(disk: SimDisk, first_name: int) -> None:
    names = iter(f"{number:032x}" for number in range(first_name, first_name + 2))
    files = disk.files()
    form_cluster({NODE: DIRECTORY}, options=OPTIONS, files=files, draw=lambda: next(names))


def recover(disk: SimDisk) -> LogStore | None:
    """Open the directory as a node would; None if it was never formatted."""
    files = disk.files()
    try:
        directory = DataDirectory.open(DIRECTORY, files=files)
    except DirectoryUnformatted:
        return None
    directory.close()
    return LogStore.open(files, SHARD, OPTIONS)


def check(disk: SimDisk, promise: Promise) -> None:
    """Hold a recovered disk against what was promised.

    Raises:
        ContractBroken: Saying which clause.
    """
    store = recover(disk)
    if store is None:
        _demand(not promise.formatted, "a formatted directory is unformatted")
        _form(disk, 9)
        _demand(recover(disk) is not None, "formation cannot be repeated")
        return
    _demand(store.faulty_count == 0, f"{store.faulty_ranges()} called damaged")
    if not promise.formatted:
        _demand(store.end.index == 1, f"a new log ends at {store.end.index}")
    else:
        found = _read(store)
        _check_log(store, found, promise)
        _demand(store.hard_state in promise.states, f"hard state {store.hard_state}")
        kept = max(promise.kept, promise.reset_to)
        _demand(store.commit_hint <= kept, f"commit hint {store.commit_hint}")
    _check_goes_on(disk, store)


def _check_log(store: LogStore, found: list[int], promise: Promise) -> None:
    start = store.start.index
    if promise.reset_to and start == promise.reset_to:
        _demand(not found, f"a new log with {len(found)} entries that nobody has written")
        return
    kept = promise.durable[: promise.kept]
    _demand(start <= promise.trimmed, f"log starts at {start}, trimmed to {promise.trimmed}")
    whole = kept[:start] + found
    _demand(whole[: len(kept)] == kept, f"{len(kept)} entries were promised, {len(whole)} found")
    written = any(whole == log[: len(whole)] for log in (promise.durable, *promise.possible))
    _demand(written, f"a log of {len(whole)} entries that was never written")


def _check_goes_on(disk: SimDisk, store: LogStore) -> None:
    end = store.end
    entry = seal(
        *(EntryKind.COMMANDS, Term(end.term + 1000), Index(end.index + 1), end.checksum),
        [b"after the crash"],
    )
    plan = store.plan([WriteEntries(WriteNumber(1), None, (entry,))], Index(0))
    plan.perform()
    store.complete(plan)
    disk.crash(Random(0), CrashKind.LOSE)
    again = recover(disk)
    _demand(again is not None and again.end == entry.end, "an append after recovery was lost")


def _read(store: LogStore) -> list[int]:
    found: list[int] = []
    index = store.first_index
    while index <= store.end.index:
        span = store.locate(index, store.end.index, 1 << 20)
        entries = span.entries(span.read(wait=True) or b"")
        span.close()
        found.extend(entry.checksum for entry in entries)
        index = Index(entries[-1].index + 1)
    return found


def _demand(holds: bool, what: str) -> None:  # noqa: FBT001  (a contract's clause)
    if not holds:
        raise ContractBroken(what)


CLASSES: Final = (
    *((CrashKind.KEEP, 1), (CrashKind.LOSE, 1)),
    *((CrashKind.SUBSET, 3), (CrashKind.TORN, 3)),
)


def states_of(snapshot: Snapshot, seed: int, on_state: Callable[[], None]) -> None:
    """Crash one snapshot in every class, recover, and crash the recovery too."""
    for kind, times in CLASSES:
        for turn in range(times):
            random = Random(f"{seed}/{kind.value}/{turn}")
            crashed = snapshot.disk.fork()
            crashed.crash(random, kind)
            again = crashed.fork()
            check(crashed, snapshot.promise)
            on_state()
            if _crash_recovery(again, random):
                again.crash(random, random.choice(list(CrashKind)))
                check(again, snapshot.promise)
                on_state()


def _crash_recovery(disk: SimDisk, random: Random) -> bool:
    """Run recovery and kill it at one of its operations; False if it changed nothing."""
    probe = disk.fork()
    before = probe.operations
    recover(probe)
    operations = probe.operations - before
    if not operations:
        return False
    left = random.randint(1, operations)

    def kill(_call: str, _path: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    disk.on_operation = kill
    with suppress(Killed):
        recover(disk)
    disk.on_operation = None
    return True


def run(states: int, seed: int = 1, steps: int = 60) -> int:
    """Check at least ``states`` crash states; return how many.

    Raises:
        ContractBroken: With the line that repeats it.
    """
    done = 0

    def count() -> None:
        nonlocal done
        done += 1

    while done < states:
        for number, snapshot in enumerate(Workload(seed).run(steps)):
            try:
                states_of(snapshot, seed, count)
            except (ContractBroken, AssertionError) as error:
                raise ContractBroken(
                    f"seed {seed}, operation {number} ({snapshot.what}): {error}"
                ) from error
        seed += 1
    return done


def main() -> None:
    """Check as many states as asked, and say so."""
    parser = argparse.ArgumentParser(description="Check crash states of the log store.")
    parser.add_argument("--states", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        done = run(arguments.states, arguments.seed)
    except ContractBroken as error:
        print(f"BROKEN: {error}")
        sys.exit(1)
    print(f"{done} crash states, 0 broken contracts")


if __name__ == "__main__":
    main()
