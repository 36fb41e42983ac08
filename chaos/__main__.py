"""``python -m chaos``: break a cluster of real processes on this machine, and say what it lost.

Exit code 0: everything planned happened and nothing was wrong; 1: something was; 2: the command
line; 130: interrupted. No process, proxy or data directory stays, whichever it is.
"""

import argparse
import asyncio
import re
import secrets
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from chaos.live.faults import FAULTS
from chaos.live.page import page, series_page
from chaos.live.run import cluster_of, run
from chaos.live.schedule import SCENARIOS, kinds_of
from chaos.live.shim import compiler
from chaos.live.verdict import Plan, Series, Verdict, plans_of
from chaos.live.view import View, print_series, print_summary
from chaos.mutants.patches import MUTANTS
from chaos.seeds.code import told_commit
from raftlog.base.errors import RaftlogError
from raftlog.base.garbage import collect_seldom, keep_what_is_there
from raftlog.server.lifecycle import loop_factory

UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
INTERRUPTED: Final = 130
SECONDS_MAX: Final = 7 * 24 * 3600


def seconds_of(text: str) -> float:
    """Return the seconds of "90s", "10m", "5h" or "90".

    Raises:
        ValueError: It is no time.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    seconds = float(found[1]) * UNITS[found[2] or "s"] if found else 0.0
    if not 1 <= seconds <= SECONDS_MAX:
        raise ValueError(f"{text!r} is no time from a second to a week; write 90s, 10m or 5h")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    below = parser.add_subparsers(dest="command", required=True)
    below.add_parser("list", help="show the scenarios and the faults")
    one = below.add_parser("run", help="run a scenario")
    one.add_argument("name", choices=list(SCENARIOS), metavar="NAME", help=", ".join(SCENARIOS))
    one.add_argument("--seed", type=int, help="which schedule; without it, any")
    one.add_argument("--time", type=seconds_of, help="how long: 90s, 10m, 5h")
    one.add_argument(
        *("--schedules",), type=int, default=1, help="divide the time into so many runs; default 1"
    )
    one.add_argument("--faults", default="", help="kinds or groups instead: power,kill,network")
    one.add_argument("--nodes", type=int, choices=(3, 5), default=3)
    one.add_argument(
        *("--shim",), action="store_true", help="power fails beneath the normal file layer; gcc"
    )
    one.add_argument("--mutant", default="", help="a planted bug, by its name")
    one.add_argument("--report", type=Path, help="where the page goes: build/chaos-NAME-SEED.html")
    one.add_argument("--keep", action="store_true", help="keep the files if something is wrong")
    return parser


def _plan(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Plan:
    scenario = SCENARIOS[given.name]
    named = tuple(each for each in given.faults.split(",") if each)
    try:
        kinds = kinds_of(named) if named else scenario.kinds
    except ValueError as error:
        parser.error(str(error))
    if given.mutant and given.mutant not in {mutant.name for mutant in MUTANTS}:
        parser.error(f"no mutant {given.mutant!r}; docs/reference/planted-bugs.md has them")
    if given.shim:
        kinds = tuple(kind for kind in kinds if not FAULTS[kind].needs_layer)
        if not kinds or compiler() is None:
            parser.error("--shim: no gcc is found" if kinds else "--shim: none of these faults")
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    return Plan(
        *(given.name, seed, given.time or scenario.time_s, given.nodes, kinds),
        mutant=given.mutant,
        faults=named,
        shim=given.shim,
        commit=told_commit(),
    )


def _list(console: Console) -> None:
    for title, rows in (
        ("scenario", {name: each.text for name, each in SCENARIOS.items()}),
        ("fault", {name: f"{each.group}: {each.text}" for name, each in FAULTS.items()}),
    ):
        table = Table(box=None, padding=(0, 2))
        table.add_column(title)
        table.add_column("")
        for name, text in rows.items():
            table.add_row(name, text)
        console.print(table)


def _write_page(series: Series, path: Path | None) -> Path:
    plan = series.plans[0]
    path = path or Path("build") / f"chaos-{plan.name}-{plan.seed}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = page(series.verdicts[0]) if len(series.plans) == 1 else series_page(series)
    path.write_text(text, "utf-8")
    return path


async def _until_told(running: Coroutine[None, None, Verdict]) -> Verdict:
    """Run; SIGTERM and a terminal that is closed are like ctrl-C."""
    task = asyncio.ensure_future(running)
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    console = Console()
    if given.command == "list":
        _list(console)
        return 0
    plan = _plan(parser, given)
    if given.schedules < 1 or plan.time_s / given.schedules < 1:
        parser.error(f"{plan.time_s:g} s can't be divided into {given.schedules} schedules")
    plans = plans_of(plan, given.schedules)
    series, code = _run_all(plans, console, given.report, keep=given.keep)
    if not series.verdicts:
        return code
    if len(plans) > 1:
        print_series(series, console)
    console.print(f"report: {_write_page(series, given.report)}", soft_wrap=True)
    return code or (1 if series.anomalies else 0)


def _run_one(plan: Plan, console: Console, *, keep: bool) -> Verdict:
    """Run; whatever happens, no process, proxy or file is left but what was asked for."""
    with cluster_of(plan) as cluster:
        with (
            View(plan, console) as view,
            asyncio.Runner(loop_factory=loop_factory()) as runner,
        ):
            verdict = runner.run(_until_told(run(plan, cluster, view.tell)))
        if keep and verdict.anomalies:
            cluster.stays = True
            verdict = msgspec.structs.replace(verdict, kept=cluster.directory)
    return verdict


def _run_all(
    plans: Sequence[Plan], console: Console, report: Path | None, *, keep: bool
) -> tuple[Series, int]:
    """Run one after the other; return what was made, and the exit code if that was not all.

    The report is written after each, so what ends this later takes nothing of it.
    """
    series = Series(tuple(plans), ())
    # All that the nodes say to one another goes through this process: while it looks for garbage,
    # every node has lost all others.
    collect_seldom()
    for plan in plans:
        keep_what_is_there()
        try:
            verdict = _run_one(plan, console, keep=keep)
        except RaftlogError as error:
            console.print(f"the run could not be made: {error}")
            return series, 1
        except KeyboardInterrupt:
            console.print("interrupted")
            return series, INTERRUPTED
        series = msgspec.structs.replace(series, verdicts=(*series.verdicts, verdict))
        print_summary(verdict, console)
        _write_page(series, report)
        if verdict.is_interrupted:
            return series, INTERRUPTED
    return series, 0


if __name__ == "__main__":
    sys.exit(main())
