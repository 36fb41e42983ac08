"""All workloads, all of their moments, all ways to crash there; counted, and repeatable.

A state is named by its workload, the workload's seed, the moment in it, and the
way; one in which recovery was cut short itself, by the operation that it did not
reach, and what a second power cut took. States of one workload whose disks and
promises are equal count once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Final, NamedTuple

from chaos.crash.formation_work import formation
from chaos.crash.log_work import SCRIPTS, LogWorkload, Script
from chaos.crash.machine_work import machine_work
from chaos.crash.recording import Moment
from chaos.crash.repair_work import RepairWorkload
from chaos.crash.spool_work import SpoolWorkload
from chaos.crash.states import AGAIN, KILL, PowerCut, power_cuts
from chaos.sim.disk import CrashKind, Killed, SimDisk

Work = Callable[[int, int], list[Moment]]
"""Makes the moments of a workload, by seed and number of steps."""


def _scripted(script: Script) -> Work:
    return lambda seed, steps: LogWorkload(script, seed).run(steps)


WORKLOADS: Final[Mapping[str, Work]] = {
    **{name: _scripted(script) for name, script in SCRIPTS.items()},
    "formation": formation,
    "repair": lambda seed, steps: RepairWorkload(seed).run(steps),
    "index, snapshot": machine_work,
    # Its steps cost little.
    "spool": lambda seed, steps: SpoolWorkload(seed).run(2 * steps),
}
EXHAUSTIVE: Final = frozenset({KILL, "lost"})
"""After these ways, recovery is cut short before each of its operations; after others, once."""


class Broken(NamedTuple):
    """A state that does not keep the contract."""

    workload: str
    seed: int
    moment: int
    state: str
    what: str

    def __str__(self) -> str:
        """Say what broke, and the line that repeats it."""
        return (
            f"{self.what}\n    python -m chaos.crash --workload '{self.workload}' "
            f"--seed {self.seed} --moment {self.moment} --state '{self.state}'"
        )


class Examined(NamedTuple):
    """What came of one workload with one seed."""

    workload: str
    moments: int
    counts: Counter[str]
    broken: tuple[Broken, ...]


class Way(NamedTuple):
    """One state of a moment: its class, its name, and how to make the disk."""

    kind: str
    label: str
    crash: Callable[[SimDisk], None]


def ways_of(moment: Moment) -> Iterator[Way]:
    """Yield every way to crash at a moment, but for crashes of the recovery."""
    yield Way(KILL, KILL, lambda disk: disk.crash(Random(0), CrashKind.KEEP))
    for cut in power_cuts(moment.disk.unsynced()):
        yield Way(cut.kind, cut.label, _cutter(cut))


def _cutter(cut: PowerCut) -> Callable[[SimDisk], None]:
    return lambda disk: disk.cut_power(cut.fate_of)


class Examination:
    """Crashes one workload at every moment.

    ``share`` is the part of the states that is examined: at each moment at least
    one of every class that it has, the same ones every time.
    """

    def __init__(self, workload: str, seed: int, steps: int, share: float = 1.0) -> None:
        self._name = workload
        self._seed = seed
        self._share = share
        self._moments = WORKLOADS[workload](seed, steps)
        self._seen: set[tuple[int, int]] = set()
        self._counts: Counter[str] = Counter()
        self._broken: list[Broken] = []

    def run(self) -> Examined:
        """Examine every moment."""
        for number in range(len(self._moments)):
            self._examine(number)
        return Examined(self._name, len(self._moments), self._counts, tuple(self._broken))

    def run_one(self, number: int, state: str) -> Examined:
        """Examine one state again, by its name, and count nothing else."""
        self._counts, self._broken = Counter(), []
        moment = self._moments[number]
        label, _, second = state.partition(f" {AGAIN} ")
        (way,) = [way for way in ways_of(moment) if way.label == label]
        disk = moment.disk.fork()
        way.crash(disk)
        if second:
            at, _, kind = second.partition(" ")
            self._again(number, way, disk, int(at), CrashKind(kind))
        else:
            self._hold(number, moment, way.kind, state, disk)
        return Examined(self._name, 1, self._counts, tuple(self._broken))

    def _examine(self, number: int) -> None:
        moment = self._moments[number]
        random = Random(f"{self._name}/{self._seed}/{number}")
        recovered: list[tuple[Way, SimDisk, int]] = []
        for way in self._chosen(list(ways_of(moment)), random):
            crashed = moment.disk.fork()
            way.crash(crashed)
            if way.kind == KILL or self._is_new(moment, crashed):
                before = crashed.fork()
                operations = self._hold(number, moment, way.kind, way.label, crashed)
                recovered.append((way, before, operations))
        for way, before, operations in recovered:
            for at, kind in self._second_crashes(way, operations, random):
                self._again(number, way, before.fork(), at, kind)

    def _is_new(self, moment: Moment, disk: SimDisk) -> bool:
        """Whether this disk was not looked at under this promise."""
        key = (id(moment.promise), disk.fingerprint())
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _chosen(self, ways: Sequence[Way], random: Random) -> Iterable[Way]:
        if self._share >= 1.0:
            return ways
        chosen: list[Way] = []
        for kind in dict.fromkeys(way.kind for way in ways):
            of_kind = [way for way in ways if way.kind == kind]
            count = len(of_kind) * self._share
            whole = int(count) + (random.random() < count - int(count))
            chosen += random.sample(of_kind, whole)
        return chosen

    def _second_crashes(
        self, way: Way, operations: int, random: Random
    ) -> Iterator[tuple[int, CrashKind]]:
        if way.kind in EXHAUSTIVE and self._share >= 1.0:
            for at in range(operations):
                some = random.choice((CrashKind.SUBSET, CrashKind.TORN))
                for kind in (CrashKind.KEEP, CrashKind.LOSE, some):
                    yield at, kind
        elif operations:
            yield random.randrange(operations), random.choice(list(CrashKind))

    def _again(self, number: int, way: Way, disk: SimDisk, at: int, kind: CrashKind) -> None:
        """Recover, be killed before operation ``at`` of that, crash by ``kind``, recover."""
        moment = self._moments[number]
        left = at

        def kill(_call: str, _path: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        disk.on_operation = kill
        with suppress(Killed):
            moment.promise.recover(disk)
        disk.on_operation = None
        disk.crash(Random(f"{self._seed}/{number}/{at}"), kind)
        if kind is CrashKind.KEEP or self._is_new(moment, disk):
            self._hold(number, moment, AGAIN, f"{way.label} {AGAIN} {at} {kind.value}", disk)

    def _hold(self, number: int, moment: Moment, kind: str, label: str, disk: SimDisk) -> int:
        """Check the contract; return how many operations recovery made."""
        self._counts[kind] += 1
        try:
            return moment.promise.check(disk)
        except Exception as error:  # noqa: BLE001  (whatever recovery raises is a finding)
            what = f"{moment.what}: {type(error).__name__}: {error}"
            self._broken.append(Broken(self._name, self._seed, number, label, what))
            return 0


def examine(task: tuple[str, int, int, float]) -> Examined:
    """Examine one workload with one seed; for a pool of processes."""
    return Examination(*task).run()
