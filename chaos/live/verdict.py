"""What a run comes to: everything that a report shows, as one value; and several in a row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from chaos.check.client_history import Anomaly, Event
from chaos.live.comparing import Compared
from chaos.live.slow_followers import SendTimes, of_runs
from chaos.live.topics import NOTES, TRANSFERS
from chaos.live.totals import (
    HOUR_S,
    INSTALLS,
    RECORDS,
    SCHEDULES,
    TRIMS,
    check_bars,
    happened,
    of_all,
)
from chaos.live.world import Sight

UNTOLD: Final = (NOTES, TRANSFERS)
"""Topics of whose records not every owner is told what became of them."""


class Plan(msgspec.Struct, frozen=True):
    """What a run was told to do."""

    name: str
    seed: int
    time_s: float
    nodes: int
    kinds: tuple[str, ...]
    mutant: str = ""
    faults: tuple[str, ...] = ()
    """As they were named, if they were."""
    shim: bool = False
    """Power is lost beneath the normal file layer, not in one of the suite's own."""
    commit: str = ""
    """What it is run with."""

    @property
    def line(self) -> str:
        """Return the command that does the same again."""
        return self.line_of(1)

    def line_of(self, schedules: int) -> str:
        """Return the command for several of these in a row, of which this is the first."""
        time_s = self.time_s * schedules
        parts = [f"python -m chaos run {self.name} --seed {self.seed} --time {time_s:g}s"]
        if schedules > 1:
            parts.append(f"--schedules {schedules}")
        parts.append(f"--nodes {self.nodes}")
        if self.faults:
            parts.append(f"--faults {','.join(self.faults)}")
        if self.shim:
            parts.append("--shim")
        if self.mutant:
            parts.append(f"--mutant '{self.mutant}'")
        return " ".join(parts)


class Pulse(msgspec.Struct, frozen=True):
    """What clients saw in one part of a run."""

    at: float
    acked: int
    p50_ms: float
    p99_ms: float


class Told(msgspec.Struct, frozen=True):
    """What the owners of one topic's records were told of them, by the number of records.

    Attributes:
        acked: Stored; they have a receipt.
        refused: Never.
        unknown: Nothing that is definite, or nothing at all.
    """

    acked: int = 0
    refused: int = 0
    unknown: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """One run."""

    plan: Plan
    seconds: float
    told: dict[str, Told]
    """By topic."""
    stored: int
    done: dict[str, int]
    notes: dict[str, int]
    events: tuple[Event, ...]
    sights: tuple[Sight, ...]
    pulses: tuple[Pulse, ...]
    leaderless_s: dict[str, list[float]]
    send_times: SendTimes
    compared: Compared
    anomalies: tuple[Anomaly, ...]
    kept: Path | None = None
    """Where the cluster's files are, if something was wrong."""
    is_interrupted: bool = False

    @property
    def acked(self) -> int:
        """Records that were acknowledged, of all topics."""
        return sum(each.acked for each in self.told.values())

    @property
    def refused(self) -> int:
        """Records whose owner was told that they never will be stored, of all topics."""
        return sum(each.refused for each in self.told.values())

    @property
    def unknown(self) -> int:
        """Records of whose owner nothing definite was told, of topics whose records have receipts.

        Not of those that are sent without, and not of half messages, which may be rolled back.
        """
        return sum(each.unknown for name, each in self.told.items() if name not in UNTOLD)

    @property
    def counts(self) -> dict[str, int]:
        """Return how much of everything that is counted there was, by its name."""
        return {
            **happened(self.events, self.plan.nodes),
            RECORDS: self.acked,
            TRIMS: self.notes.get("archive: trims", 0),
            INSTALLS: self.notes.get("archive: installs", 0),
        }


class Series(msgspec.Struct, frozen=True):
    """Several runs, one after the other, with seeds one after the other."""

    plans: tuple[Plan, ...]
    verdicts: tuple[Verdict, ...]
    """Of those that were made; fewer if it was interrupted."""

    @property
    def line(self) -> str:
        """Return the command that does the same again."""
        return self.plans[0].line_of(len(self.plans))

    @property
    def counts(self) -> dict[str, int]:
        """Return the totals of what happened."""
        return of_all([each.counts for each in self.verdicts])

    @property
    def seconds(self) -> float:
        """How long all of it took."""
        return sum(each.seconds for each in self.verdicts)

    @property
    def is_interrupted(self) -> bool:
        """Whether some of it was not done."""
        return len(self.verdicts) < len(self.plans) or any(
            each.is_interrupted for each in self.verdicts
        )

    @property
    def is_held_to_bars(self) -> bool:
        """Whether it was an hour of everything, that has to have enough of each."""
        planned_s = sum(plan.time_s for plan in self.plans)
        first = self.plans[0]
        is_all = first.name == "all" and not first.faults and not first.mutant
        return is_all and planned_s >= HOUR_S and len(self.plans) >= SCHEDULES

    @property
    def anomalies(self) -> tuple[Anomaly, ...]:
        """What was wrong in any run, and in all of them together."""
        found = [anomaly for each in self.verdicts for anomaly in each.anomalies]
        if self.is_held_to_bars and not self.is_interrupted:
            found += check_bars(self.counts)
        return tuple(found)

    @property
    def leaderless_s(self) -> dict[str, list[float]]:
        """Return the seconds after each loss, of all runs."""
        kinds = dict.fromkeys(kind for each in self.verdicts for kind in each.leaderless_s)
        return {
            kind: [value for each in self.verdicts for value in each.leaderless_s.get(kind, ())]
            for kind in kinds
        }

    @property
    def send_times(self) -> SendTimes:
        """Return how long sends took beside a follower that is slow, in all runs."""
        return of_runs([each.send_times for each in self.verdicts])


def plans_of(plan: Plan, schedules: int) -> Sequence[Plan]:
    """Divide a plan into as many runs, each with a seed of its own."""
    return [
        msgspec.structs.replace(plan, seed=plan.seed + number, time_s=plan.time_s / schedules)
        for number in range(schedules)
    ]
