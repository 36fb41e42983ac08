"""The picture of a run, drawn as SVG.

From top to bottom on one axis of time: faults, who led, how much was acknowledged, how fast.
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from chaos.live.faults import FAULTS
from chaos.live.topics import ORDERS
from chaos.live.verdict import Verdict
from chaos.live.world import Sight

WIDTH: Final = 1100
LEFT: Final = 90
ROW: Final = 20
GRAPH: Final = 90
COLOURS: Final = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#0891b2", "#be185d")
RATES: Final = "#2563eb"
SLOWEST: Final = "#2563eb"
MEDIAN: Final = "#ea580c"
Curve = tuple[str, list[tuple[float, float]]]
"""A colour, and points."""
GROUPS: Final = {
    "process": "#dc2626",
    "network": "#2563eb",
    "power": "#111827",
    "disk": "#9333ea",
    "clock": "#ca8a04",
    "members": "#16a34a",
    "promises": "#ea580c",
}


def picture(verdict: Verdict) -> Iterator[str]:
    """Yield the picture, and the key to its colours."""
    scale = (WIDTH - LEFT) / max(verdict.seconds, 1.0)
    groups = [name for name in GROUPS if any(_group(each.kind) == name for each in verdict.events)]
    leaders = len(groups) * ROW + 10
    acked = leaders + ROW + 15
    late = acked + GRAPH + 20
    axis = late + GRAPH + 15
    yield f'<svg viewBox="0 0 {WIDTH} {axis + 15}" width="100%" role="img">'
    for place, group in enumerate(groups):
        yield f"<text x=0 y={place * ROW + 14}>{group}</text>"
        for event in verdict.events:
            if _group(event.kind) == group:
                width = max(2.0, (event.until - event.at) * scale)
                told = f"{event.at:.1f} s: {event.kind} {event.target}. {event.note}"
                yield (
                    f"<rect x={LEFT + event.at * scale:.1f} y={place * ROW + 3} width={width:.1f} "
                    f'height={ROW - 6} fill="{GROUPS[group]}" '
                    f"opacity={0.85 if event.happened else 0.25}>"
                    f"<title>{escape(told)}</title></rect>"
                )
    yield f"<text x=0 y={leaders + 14}>leader</text>"
    yield from _leaders(verdict, scale, leaders)
    right = LEFT + verdict.seconds * scale
    yield from _graph(f"{ORDERS} acked/s", [(RATES, _rates(verdict))], acked, scale, right)
    yield from _graph("p99, ms", _latencies(verdict), late, scale, right)
    for tick in range(11):
        at = verdict.seconds * tick / 10
        yield f"<text x={LEFT + at * scale - 8:.0f} y={axis + 10}>{at:.0f} s</text>"
    yield "</svg><p class=key>"
    for name, colour in zip(_names(verdict), COLOURS, strict=False):
        yield f'<span style="color:{colour}">&#9632; {name} leads</span>'
    yield '<span style="color:#9ca3af">&#9632; nobody leads</span>'
    yield f'<span style="color:{SLOWEST}">&#9472; p99 of their sends</span>'
    yield f'<span style="color:{MEDIAN}">&#9472; p50</span>'


def _group(kind: str) -> str:
    return FAULTS[kind].group


def _names(verdict: Verdict) -> list[str]:
    """Return the nodes of the beginning, and who else has led."""
    first = {f"n{number + 1}" for number in range(verdict.plan.nodes)}
    return sorted(first.union(sight.leader for sight in verdict.sights if sight.leader))


def _leaders(verdict: Verdict, scale: float, y: int) -> Iterator[str]:
    colours = dict(zip(_names(verdict), COLOURS, strict=False))
    for began, until, leader, term in _reigns(verdict.sights, verdict.seconds):
        yield (
            f"<rect x={LEFT + began * scale:.1f} y={y + 3} width={(until - began) * scale:.1f} "
            f'height={ROW - 6} fill="{colours.get(leader, "#9ca3af")}">'
            f"<title>{escape(leader or 'nobody')}, term {term}, from {began:.1f} s</title></rect>"
        )


def _reigns(sights: Sequence[Sight], seconds: float) -> Iterator[tuple[float, float, str, int]]:
    """Join what was seen of one leader in one term."""
    began: Sight | None = None
    for sight in sights:
        if began is None:
            began = sight
        elif (sight.leader, sight.term) != (began.leader, began.term):
            yield began.at, sight.at, began.leader, began.term
            began = sight
    if began is not None:
        yield began.at, seconds, began.leader, began.term


def _rates(verdict: Verdict) -> list[tuple[float, float]]:
    width = verdict.pulses[1].at if len(verdict.pulses) > 1 else 1.0
    return [(each.at, each.acked / width) for each in verdict.pulses]


def _latencies(verdict: Verdict) -> list[Curve]:
    pulses = verdict.pulses
    return [
        (SLOWEST, [(each.at, each.p99_ms) for each in pulses]),
        (MEDIAN, [(each.at, each.p50_ms) for each in pulses]),
    ]


def _graph(
    name: str, curves: Sequence[Curve], y: int, scale: float, right: float
) -> Iterator[str]:
    """Draw curves over one scale, up to the largest value of any."""
    top = max((value for _, values in curves for _, value in values), default=0.0) or 1.0
    yield f"<text x=0 y={y + 12}>{name}</text><text x=0 y={y + 27}>max {top:,.0f}</text>"
    yield f'<line x1={LEFT} y1={y + GRAPH} x2={right:.0f} y2={y + GRAPH} stroke="#d1d5db"/>'
    for colour, values in curves:
        points = " ".join(
            f"{LEFT + at * scale:.1f},{y + GRAPH - value / top * GRAPH:.1f}"
            for at, value in values
        )
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.3"/>'
