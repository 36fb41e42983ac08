"""What a person sees while a run goes on, and the summary after it."""

from collections import Counter
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from chaos.check.client_history import Event
from chaos.check.leaderless_time import leaderless_times, told
from chaos.live.verdict import Plan, Verdict
from chaos.live.workloads.workload import ORDERS
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
    current = world.current
    fault = f"now: {current.kind} {current.target}" if current else "now: nothing is wrong"
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
    happened = Counter(event.kind for event in verdict.events if event.happened)
    tried = Counter(event.kind for event in verdict.events)
    table = Table(box=None, padding=(0, 2))
    for heading in ("fault", "tried", "happened"):
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    for kind in sorted(tried):
        table.add_row(kind, str(tried[kind]), str(happened[kind]))
    console.print(table)
    console.print(
        f"{verdict.acked:,} records acked, {verdict.failed:,} refused, {verdict.unknown:,} "
        f"unknown; {verdict.stored:,} stored, read back and compared; "
        f"{verdict.entries_compared:,} entries alike on two nodes",
        soft_wrap=True,
    )
    for name, count in {**verdict.done, **verdict.notes}.items():
        console.print(f"  {name}: {count:,}")
    for kind, values in verdict.leaderless_s.items():
        if values:
            console.print(f"no leader after a {kind}, {len(values)} times: {told(values)}")
    if verdict.is_interrupted:
        console.print(Text("interrupted: nothing was compared", style="yellow"))
    for anomaly in verdict.anomalies:
        console.print(Text(f"ANOMALY {anomaly.check}: {anomaly.text}", style="bold red"))
        for line in anomaly.evidence[:EVIDENCE_SHOWN]:
            console.print(Text(f"    {line}", style="red"))
    if not verdict.anomalies and not verdict.is_interrupted:
        console.print(Text("no anomaly", style="bold green"))
    if verdict.kept:
        console.print(f"the cluster's files: {verdict.kept}")
    console.print(f"again: {verdict.plan.line}", soft_wrap=True)
