"""What a run comes to: everything that a report shows, as one value."""

from pathlib import Path

import msgspec

from chaos.check.client_history import Anomaly, Event
from chaos.live.world import Sight


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

    @property
    def line(self) -> str:
        """Return the command that does the same again."""
        parts = [f"python -m chaos run {self.name} --seed {self.seed} --time {self.time_s:g}s"]
        parts.append(f"--nodes {self.nodes}")
        if self.faults:
            parts.append(f"--faults {','.join(self.faults)}")
        if self.mutant:
            parts.append(f"--mutant '{self.mutant}'")
        return " ".join(parts)


class Pulse(msgspec.Struct, frozen=True):
    """What clients saw in one part of a run."""

    at: float
    acked: int
    p50_ms: float
    p99_ms: float


class Verdict(msgspec.Struct, frozen=True):
    """One run."""

    plan: Plan
    seconds: float
    acked: int
    failed: int
    unknown: int
    stored: int
    done: dict[str, int]
    notes: dict[str, int]
    events: tuple[Event, ...]
    sights: tuple[Sight, ...]
    pulses: tuple[Pulse, ...]
    leaderless_s: dict[str, list[float]]
    entries_compared: int
    anomalies: tuple[Anomaly, ...]
    kept: Path | None = None
    """Where the cluster's files are, if something was wrong."""
    is_interrupted: bool = False
