"""What a person sees while a run goes on, and the summary after it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from chaos.check.client_history import Anomaly, Event
from chaos.check.leaderless_time import leaderless_times, told
from chaos.live.faults import MISSING, SHIM
from chaos.live.slow_followers import BAR, SendTimes, lines
from chaos.live.topics import ORDERS
from chaos.live.totals import BARS, POWER, happened, tried
from chaos.live.verdict import Plan, Series, Verdict
from chaos.live.world import World

COLOURS: Final = {"leader": "green", "follower": "default", "down": "red", "paused": "yellow"}
EVENTS_SHOWN: Final = 6
EVIDENCE_SHOWN: Final = 3


class View:
    """The live view: told of a world again and again."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._told_events = self._told_anomalies = 0
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._console.print(Text(f"{self._plan.line}", style="bold"))
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        if self._console.is_terminal:
            self._live.stop()

    def tell(self, world: World) -> None:
        """Draw how the run stands; where nobody sees a picture, write a line for each thing."""
        if self._console.is_terminal:
            self._live.update(_picture(self._plan, world))
            return
        over = [event for event in world.events if event.until]
        over.sort(key=lambda event: event.until)
        for event in over[self._told_events :]:
            self._say(_line(event), "default")
        for each in world.anomalies[self._told_anomalies :]:
            self._say(f"ANOMALY {each.check}: {each.text}", "bold red")
        self._told_events, self._told_anomalies = len(over), len(world.anomalies)

    def _say(self, line: str, style: str) -> None:
        self._console.print(Text(line, style=style), soft_wrap=True)


def _picture(plan: Plan, world: World) -> Group:
    nodes = Table(box=None, padding=(0, 2))
    for heading in ("node", "role", "term", "commit", "applied", "starts"):
        nodes.add_column(heading)
    sight = world.sights[-1] if world.sights else None
    roles = dict(zip(world.cluster.names, sight.roles if sight else (), strict=False))
    for each in world.cluster.view.nodes:
        role = roles.get(each.node, "")
        starts = world.cluster.nodes[each.node].starts
        nodes.add_row(
            each.node,
            Text(role, style=COLOURS.get(role, "default")),
            *map(str, (each.term, each.commit, each.applied, starts)),
        )
    lost = leaderless_times(world.events, world.records[ORDERS])
    silence = ", ".join(
        f"{kind} {len(values)}: {told(values)}" for kind, values in lost.items() if values
    )
    head = f"{world.now():6.1f} of {plan.time_s:g} s   acked {world.acked:,}   seed {plan.seed}"
    current = [f"{event.kind} {event.target}" for event in world.current]
    fault = f"now: {', '.join(current) or 'nothing is wrong'}"
    past = [_line(event) for event in world.events[-EVENTS_SHOWN:]]
    wrong = [Text(f"  {each.check}: {each.text}", style="red") for each in world.anomalies[-5:]]
    return Group(
        Text(head, style="bold"),
        nodes,
        Text(f"without a leader: {silence or 'never yet'}"),
        Text(fault, style="yellow" if current else "green"),
        *map(Text, past),
        *wrong,
    )


def _line(event: Event) -> str:
    return f"{event.at:7.1f} s  {event.kind:16} {event.target:14} {event.note[:100]}"


def print_summary(verdict: Verdict, console: Console) -> None:
    """Print what a run has come to."""
    compared = verdict.compared
    _print_faults(verdict.events, verdict.plan, console)
    console.print(
        f"{verdict.acked:,} records acked, {verdict.refused:,} refused, {verdict.unknown:,} "
        f"unknown; {verdict.stored:,} stored, read back and compared; alike on any two nodes at "
        f"least {compared.entries:,} entries, {compared.ranges:,} index ranges, "
        f"{compared.snapshots:,} snapshots",
        soft_wrap=True,
    )
    for name, count in {**verdict.done, **verdict.notes}.items():
        console.print(f"  {name}: {count:,}")
    _print_leaderless(verdict.leaderless_s, console)
    _print_slow_followers(verdict.send_times, console)
    if verdict.is_interrupted:
        console.print(Text("interrupted: nothing was compared", style="yellow"))
    _print_anomalies(verdict.anomalies, console)
    if not verdict.anomalies and not verdict.is_interrupted:
        console.print(Text("no anomaly", style="bold green"))
    if verdict.kept:
        console.print(f"the cluster's files: {verdict.kept}")
    console.print(f"again: {verdict.plan.line}", soft_wrap=True)


def print_series(series: Series, console: Console) -> None:
    """Print what several runs have come to."""
    console.print(Text(f"in all, {len(series.verdicts)} schedules:", style="bold"))
    events = [event for each in series.verdicts for event in each.events]
    _print_faults(events, series.plans[0], console)
    for name, count in series.counts.items():
        due = f" of at least {BARS[name]:,}" if series.is_held_to_bars else ""
        console.print(f"  {name}: {count:,}{due}")
    _print_leaderless(series.leaderless_s, console)
    _print_slow_followers(series.send_times, console)
    _print_anomalies(series.anomalies, console)
    if series.is_interrupted:
        console.print(Text("interrupted: not all of it was run", style="yellow"))
    elif not series.anomalies:
        console.print(Text("no anomaly in any", style="bold green"))
    console.print(f"again: {series.line}", soft_wrap=True)


def _print_faults(events: Sequence[Event], plan: Plan, console: Console) -> None:
    """Of every kind that was planned; what never happened is shown with 0."""
    came = Counter(event.kind for event in events if event.happened)
    begun = Counter(event.kind for event in events)
    table = Table(box=None, padding=(0, 2))
    for heading in ("fault", "tried", "happened"):
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    for kind in sorted({*plan.kinds, *begun}):
        table.add_row(kind, str(begun[kind]), str(came[kind]))
    counts = [count(events, plan.nodes)[POWER] * plan.shim for count in (tried, happened)]
    table.add_row(SHIM[0], *map(str, counts))
    for kind in MISSING:
        table.add_row(f"{kind} (there is none)", "0", "0")
    console.print(table)


def _print_leaderless(times: Mapping[str, list[float]], console: Console) -> None:
    for kind, values in times.items():
        if values:
            console.print(f"no leader after a {kind}, {len(values)} times: {told(values)}")


def _print_slow_followers(times: SendTimes, console: Console) -> None:
    for title, told_times in lines(times):
        console.print(f"{title}: {told_times} (bar: {BAR:g} times)", soft_wrap=True)


def _print_anomalies(anomalies: Sequence[Anomaly], console: Console) -> None:
    for anomaly in anomalies:
        console.print(Text(f"ANOMALY {anomaly.check}: {anomaly.text}", style="bold red"))
        for line in anomaly.evidence[:EVIDENCE_SHOWN]:
            console.print(Text(f"    {line}", style="red"))
