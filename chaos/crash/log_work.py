"""Workloads of a log store: what is done how often decides what they are about."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Final

import msgspec

from chaos.crash.log_contract import DIRECTORY, SHARD, Log, LogPromise, read_log
from chaos.crash.recording import Moment, Recording
from chaos.sim.disk import SimDisk
from raftlog.base.entry import Entry, EntryKind, LogEnd, seal
from raftlog.base.ids import DirectoryId, Index, NodeId, ReplicaId, Term, WriteNumber
from raftlog.base.membership import Membership
from raftlog.base.writes import HardState, ResetLog, SaveHardState, Write, WriteEntries
from raftlog.storage.directory import form_cluster
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.plan import StorePlan

NODE: Final = NodeId("n1")
VOTES: Final = tuple(ReplicaId(NodeId(f"n{n}"), DirectoryId(f"d{n}")) for n in (1, 2))
MEMBERS: Final = Membership(VOTES).encode()
UNCOMMITTED: Final = 4
"""Entries at the end of a log that a truncation may take."""


class Script(msgspec.Struct, frozen=True):
    """What a workload does, by weight, and in which sizes."""

    weights: Mapping[str, int]
    segment_bytes: int = 1024
    bodies: tuple[int, ...] = (0, 5, 40, 150, 400)


SCRIPTS: Final[Mapping[str, Script]] = {
    "append": Script({"append": 6, "burst": 3, "mark": 1, "reopen": 1}, 4096, (0, 40, 600, 1500)),
    "roll": Script({"append": 6, "burst": 3, "mark": 1, "reopen": 1}, 512, (5, 100, 300)),
    "truncate": Script({"append": 3, "truncate": 4, "burst": 3, "mark": 1, "reopen": 1}),
    "trim": Script({"append": 6, "burst": 2, "truncate": 1, "trim": 3, "reopen": 1}, 512),
    "reset": Script({"append": 5, "burst": 2, "truncate": 2, "reset": 3, "trim": 1, "reopen": 1}),
    "hard state": Script({"vote": 6, "append": 2, "truncate": 1, "mark": 1, "reopen": 1}),
    "mixed": Script(
        {"append": 8, "burst": 3, "truncate": 3, "vote": 2, "trim": 1, "mark": 1, "reopen": 1}
    ),
}


def form(disk: SimDisk, options: StoreOptions) -> None:
    """Format the directory of a cluster of one node, the same way every time."""
    names = iter((f"{1:032x}", f"{2:032x}"))
    form_cluster({NODE: DIRECTORY}, options=options, files=disk.files(), draw=lambda: next(names))


class LogWorkload:
    """Drives a store through everything it can do; its disk is copied at every step."""

    def __init__(self, script: Script, seed: int) -> None:
        self.script = script
        self.random = Random(seed)
        self.options = StoreOptions(segment_bytes=script.segment_bytes)
        self.disk = SimDisk()
        form(self.disk, self.options)
        self.store = self.open()
        self.log: Log = tuple(entry for entry in read_log(self.store) if entry is not None)
        self.recording = Recording(self.disk, self.promised())
        self._write = 0
        self._term = 1
        self._commit = 1

    def run(self, steps: int) -> list[Moment]:
        """Work, and return every moment on the way."""
        kinds, weights = list(self.script.weights), list(self.script.weights.values())
        for _ in range(steps):
            (kind,) = self.random.choices(kinds, weights)
            self.recording.what = kind
            self.step(kind)
            self.recording.promise = self.promised()
        return self.recording.moments

    def open(self) -> LogStore:
        """Open the log as a new process."""
        return LogStore.open(self.disk.files(), SHARD, self.options)

    def promised(self) -> LogPromise:
        """Return what is promised while nothing is under way."""
        known = getattr(self, "recording", None)
        trimmed = known.promise.trimmed if known is not None else 0
        damaged = known.promise.damaged if known is not None else frozenset()
        states = (self.store.hard_state,)
        size = len(self.log)
        assert self.store.durable_end.index == size, "the workload and the store disagree"
        return LogPromise(
            *(self.options, self.log, size, states), trimmed=trimmed, damaged=damaged
        )

    def step(self, kind: str) -> None:
        """Do one thing."""
        store = self.store
        match kind:
            case "trim":
                start = store.start.index
                through = Index(self.random.randint(start, max(self._commit, start)))
                self._change(trimmed=max(self.recording.promise.trimmed, through))
                self.perform(store.plan_trim(through))
            case "reset":
                self._reset()
            case "mark":
                self.perform(store.plan_mark())
            case "reopen":
                self.perform(store.plan_close())
                self.store = self.open()
            case _:
                self._writes(kind)

    def perform(self, plan: StorePlan | None) -> None:
        """Do what the writer thread and the loop do with a plan."""
        if plan is not None:
            plan.perform()
            self.store.complete(plan)

    def _change(self, **facts: object) -> None:
        self.recording.promise = replace(self.recording.promise, **facts)  # type: ignore[arg-type]

    def _reset(self) -> None:
        """Begin anew behind an entry of another log: after this one's end, or before it."""
        kept = max(self._commit, self.store.start.index)
        self._term += 1
        after = self.log[:kept]
        for _ in range(self.random.randint(1, 3)):
            after += self._entries(after)
        self._change(kept=kept, reset=after)
        write = ResetLog(self._number(), after[-1].end, MEMBERS)
        self.perform(self.store.plan([write], Index(self._commit)))
        self.log = after
        self._commit = len(after)
        self._change(trimmed=len(after), reset=())

    def _writes(self, kind: str) -> None:
        writes: list[Write] = []
        states = [self.store.hard_state]
        after, kept = self.log, len(self.log)
        possible: list[Log] = []
        if kind == "vote":
            self._term += 1
            states.append(HardState(Term(self._term), self.random.choice([None, *VOTES])))
            writes.append(SaveHardState(self._number(), states[-1]))
        for _ in range(3 if kind == "burst" else 1):
            truncate_to = None
            if kind == "truncate" or (kind == "burst" and self.random.random() < 0.3):
                truncate_to = self._where_to_cut(len(after))
            if truncate_to is not None:
                kept = min(kept, truncate_to)
                after = after[:truncate_to]
                self._term += 1
            entries = self._entries(after)
            writes.append(WriteEntries(self._number(), truncate_to, entries))
            after += entries
            possible.append(after)
        self._change(kept=kept, possible=tuple(possible), states=tuple(states))
        self._commit = max(self._commit, kept - UNCOMMITTED, self.store.start.index)
        self.perform(self.store.plan(writes, Index(self._commit)))
        self.log = after

    def _where_to_cut(self, end: int) -> Index | None:
        low = max(self._commit, self.store.start.index, end - UNCOMMITTED - 2)
        if "truncate" not in self.script.weights or low > end:
            return None
        return Index(self.random.randint(low, end))

    def _entries(self, log: Sequence[Entry]) -> tuple[Entry, ...]:
        made: list[Entry] = []
        end: LogEnd = log[-1].end
        for _ in range(self.random.randint(1, 4)):
            body = self.random.randbytes(self.random.choice(self.script.bodies))
            entry = seal(
                *(EntryKind.COMMANDS, Term(self._term), Index(end.index + 1)),
                *(end.checksum, [body]),
            )
            made.append(entry)
            end = entry.end
        return tuple(made)

    def _number(self) -> WriteNumber:
        self._write += 1
        return WriteNumber(self._write)
