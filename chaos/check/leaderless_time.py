"""How long nobody was acknowledged after the leader was lost, as clients saw it.

From the moment of the loss to the first receipt of a later term. A leader that still acknowledges
in its old term what was sent after the moment was not lost: it was disturbed too shortly. Not
judged here: on a machine that does other things, too, a bar says more about those.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from chaos.check.client_history import Event, Outcome, Records

BESIDE: Final = "loss beside another fault"


def leaderless_times(events: Sequence[Event], records: Records) -> dict[str, list[float]]:
    """Return the seconds after each loss: ``kill`` where connections were reset, else ``cut``.

    They are noted in the events, too.

    Beside another fault a majority may be away, which no election shortens: told by itself.
    """
    acks = sorted(
        (records.ended[number], records.terms[number], records.began[number])
        for number, outcome in enumerate(records.outcomes)
        if outcome == Outcome.OK
    )
    moments = [ended for ended, _, _ in acks]
    found: dict[str, list[float]] = {"kill": [], "cut": [], BESIDE: []}
    for event in events:
        if not event.lost_term:
            continue
        for ended, term, began in acks[bisect_left(moments, event.at) :]:
            if term > event.lost_term:
                kind = "kill" if event.kills else "cut"
                event.leaderless_s = ended - event.at
                found[BESIDE if event.beside else kind].append(event.leaderless_s)
                break
            if began > event.at:
                break
    return found


def told(values: Sequence[float]) -> str:
    """Say the two quantiles that matter."""
    return f"p50 {quantile(values, 0.5):.2f} s, p99 {quantile(values, 0.99):.2f} s"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
