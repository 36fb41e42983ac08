"""What runs come to in all: the numbers that say how much a suite has done.

An hour in ten schedules has to reach every bar here. What a schedule plans is counted the same
way as what happened, so that can be known before it is run.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from chaos.check.client_history import Anomaly, Event
from chaos.check.faults_happened import NAME
from chaos.live.faults import FAULTS
from chaos.live.faults.fault import Step

HOUR_S: Final = 3600.0
SCHEDULES: Final = 10
"""Bars are for so much time in so many schedules, and more."""
RECORDS: Final = "records acknowledged"
TRIMS: Final = "logs trimmed"
INSTALLS: Final = "snapshots given to nodes"
LEADERLESS_BARS: Final = {"kill": (0.35, 1.5), "cut": (1.2, 2.5)}
"""Seconds without a leader, by what took it: p50 and p99 on a machine that does nothing else."""
POWER: Final = "power losses"
CUTS: Final = ("cut-off", "cut-peers", "deaf", "mute", "one-link", "halves")


class Total(msgspec.Struct, frozen=True):
    """One number: the faults that count for it, and how many of it an hour must have."""

    name: str
    kinds: tuple[str, ...]
    bar: int


def _of(group: str) -> tuple[str, ...]:
    return tuple(kind for kind, fault in FAULTS.items() if fault.group == group)


TOTALS: Final = (
    Total("kills", ("kill", "kill-most"), 200),
    Total("network cuts", CUTS, 60),
    Total("pauses", ("pause",), 60),
    Total(POWER, (*_of("power"), *_of("promises")), 40),
    Total("power losses of all nodes", ("power-all",), 10),
    Total("disk faults", _of("disk"), 20),
    Total("membership changes", _of("members"), 12),
)


BARS: Final = {
    **{total.name: total.bar for total in TOTALS},
    RECORDS: 1_000_000,
    TRIMS: 300,
    INSTALLS: 5,
}
"""By name of the count: how much of it an hour must have."""


def planned(steps: Iterable[Step], nodes: int) -> dict[str, int]:
    """Count what ``steps`` do, by name of the total."""
    return _counted(Counter(step.kind for step in steps), nodes)


def happened(events: Iterable[Event], nodes: int) -> dict[str, int]:
    """Count what was proven to have happened, by name of the total."""
    return _counted(Counter(event.kind for event in events if event.happened), nodes)


def tried(events: Iterable[Event], nodes: int) -> dict[str, int]:
    """Count what was begun, whether it happened or not, by name of the total."""
    return _counted(Counter(event.kind for event in events), nodes)


def check_bars(counts: Mapping[str, int]) -> list[Anomaly]:
    """Hold an hour or more in ten schedules or more against the bars."""
    return [
        Anomaly(NAME, f"{counts.get(name, 0):,} {name}, and {bar:,} are due in an hour")
        for name, bar in BARS.items()
        if counts.get(name, 0) < bar
    ]


def of_all(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Sum up."""
    return {name: sum(each.get(name, 0) for each in counts) for name in BARS}


def _counted(kinds: Mapping[str, int], nodes: int) -> dict[str, int]:
    return {
        total.name: sum(kinds[kind] * _times(kind, nodes) for kind in total.kinds)
        for total in TOTALS
    }


def _times(kind: str, nodes: int) -> int:
    """How often one fault does what it is counted for."""
    return {"kill-most": nodes // 2 + 1, "demote": 2, "replace": 2}.get(kind, 1)
