"""A log with damage in it: repaired hole by hole, while it goes on being written.

The damage is done before the workload begins, on a disk that has everything:
damage of an entry that was acked within the last 20 ms before a power cut is two
faults, and not promised to be seen (ruling 2).
"""

from dataclasses import replace
from random import Random
from typing import Final

from chaos.crash.log_contract import SHARD, read_log
from chaos.crash.log_work import LogWorkload, Script
from chaos.sim.disk import CrashKind
from raftlog.base.ids import Index, NodeId
from raftlog.storage.segment import SUFFIX
from raftlog.storage.survey import Survey

ENTRIES_MIN: Final = 16
SCRIPT: Final = Script(
    {"repair": 6, "append": 4, "burst": 1, "truncate": 2, "vote": 1, "mark": 1, "reopen": 2},
    1024,
    (0, 5, 40, 150, 400),
)


class RepairWorkload(LogWorkload):
    """Repairs what is damaged, one hole at a time."""

    def __init__(self, seed: int) -> None:
        super().__init__(SCRIPT, seed)
        while len(self.log) < ENTRIES_MIN:
            self.step("append")
        self.step("reopen")
        self.disk.crash(Random(0), CrashKind.LOSE)
        self._damage()
        self.store = self.open()
        self.recording.moments.clear()
        self._look()

    def step(self, kind: str) -> None:
        """Do one thing."""
        if kind != "repair":
            super().step(kind)
            if kind == "reopen":
                self._look()
            return
        holes = self.store.faulty_ranges()
        if not holes:
            return
        first, last = self.random.choice(holes)
        if last > first and self.random.random() < 0.5:
            self._survey(first)
            return
        plan = self.store.plan_repair(self.log[first - 1 : last])
        assert plan is not None, f"entries {first} to {last} cannot be repaired"
        self.perform(plan)
        left = self.recording.promise.damaged.difference(range(first, last + 1))
        self.recording.promise = replace(self.recording.promise, damaged=left)

    def _survey(self, first: Index) -> None:
        """Make pieces of a hole, as for one that is larger than a message."""
        hole = self.store.hole(first)
        assert hole is not None, f"no hole begins with {first}"
        survey = Survey(hole, NodeId("n2"))
        while not survey.is_complete:
            start = survey.next - 1
            stop = min(start + self.random.randint(1, 3), hole.last)
            assert survey.take(self.log[start:stop]), f"the true entries from {start} on"
        plan = self.store.plan_split(survey)
        assert plan is not None, f"the hole from {first} on cannot be split"
        self.perform(plan)

    def _look(self) -> None:
        """Read all of it, as a scrubber does: what is damaged is known from now on."""
        read_log(self.store)
        found = {
            index for first, last in self.store.faulty_ranges() for index in range(first, last + 1)
        }
        known = self.recording.promise.damaged
        self.recording.promise = replace(self.promised(), damaged=known | found)

    def _damage(self) -> None:
        """Flip bits in the frames of some entries, and in unit heads before some."""
        segments = [path for path in self.disk.paths() if path.startswith(f"{SHARD}/log/")]
        segments = [path for path in segments if path.endswith(SUFFIX)]
        for _ in range(self.random.randint(1, 4)):
            path = self.random.choice(segments)
            used = len(self.disk.content(path).rstrip(b"\0"))
            length = self.random.choice((1, 1, 1, 30, 200, 600))
            at = self.random.randrange(64, used)
            for offset in range(at, min(at + length, used)):
                self.disk.flip_bit(path, offset, self.random.randrange(8))
