"""A run proves something only if its faults happened and its clients got something done."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from chaos.check.client_history import Anomaly, Event

NAME: Final = "faults_happened"


def check_happened(
    wanted: Iterable[str], events: Sequence[Event], done: dict[str, int]
) -> list[Anomaly]:
    """Hold a run against its own plan.

    Args:
        wanted: The kinds of faults that were planned.
        events: What was done.
        done: By workload: how much it got done.
    """
    happened = Counter(event.kind for event in events if event.happened)
    anomalies = []
    for kind in sorted(set(wanted)):
        if not happened[kind]:
            notes = tuple(event.note for event in events if event.kind == kind)[:5]
            text = f"{kind} was planned and never happened"
            anomalies.append(Anomaly(NAME, text, notes or ("it was not even tried",)))
    if not happened:
        text = "no fault happened: whatever is promised held by itself"
        anomalies.append(Anomaly(NAME, text))
    anomalies += [
        Anomaly(NAME, f"workload {name}: nothing succeeded")
        for name, count in done.items()
        if not count
    ]
    return anomalies
