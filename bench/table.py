"""All figures of the performance page, measured, with the bar beside each.

``python -m bench.table [--quick]``: ``--quick`` shortens every run for a look and
says so. Ends with 1 if a run could not be verified; a missed bar is shown, not hidden.
"""

import argparse
import sys
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from bench.bars import ROWS, Bar, Row
from raftlog.base.errors import RaftlogError
from raftlog.testing.bench.loops import run_on_loop
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.run import run

TABLE_WIDTH = 132
"""So that a row stays a line, in a log file too."""

Lengths = dict[str, dict[str, int | float | str]]
QUICK: Lengths = {
    "send": {"duration_s": 4.0},
    "embedded": {"duration_s": 4.0},
    "consume": {"log_mib": 128},
    "failover": {"count": 5},
    "restart": {"log_mib": 128},
    "rejoin": {"log_mib": 256, "duration_s": 5.0},
    "lag": {"duration_s": 5.0},
    "delayed": {"count": 50_000, "duration_s": 5.0},
    "queue": {"count": 100_000, "duration_s": 5.0},
    "transactions": {"duration_s": 4.0},
    "memory": {},
}
FULL: Lengths = {
    "send": {"duration_s": 20.0},
    "embedded": {"duration_s": 20.0},
    "consume": {"log_mib": 1024},
    "failover": {"count": 20},
    "restart": {"log_mib": 1024},
    "rejoin": {"log_mib": 1024, "duration_s": 20.0},
    "lag": {"duration_s": 20.0},
    "delayed": {"count": 1_000_000, "duration_s": 20.0},
    "queue": {"count": 400_000, "duration_s": 20.0},
    "transactions": {"duration_s": 20.0},
    "memory": {},
}


def options_of(row: Row, *, quick: bool) -> Options:
    """Return the options of a row's run."""
    length = (QUICK if quick else FULL)[row.scenario]
    return msgspec.convert({**length, **row.options}, Options)


def cells(bar: Bar, report: Report) -> tuple[str, str, str]:
    """Return what is shown of one figure: measured, bar, verdict."""
    value: float | None = getattr(report, bar.figure)
    shown = "-" if value is None else f"{value:,.6g} {bar.unit}"
    verdict = "[green]met[/green]" if bar.met(value) else "[red]missed[/red]"
    return shown, str(bar), verdict


def add_row(table: Table, row: Row, report: Report | None, why: str) -> None:
    """Add the lines of one scenario: one for each bar."""
    for place, bar in enumerate(row.bars):
        title = row.title if place == 0 else ""
        if report is None:
            table.add_row(title, bar.figure, "-", str(bar), f"[red]{why}[/red]", "")
            continue
        verified = "yes" if report.verified else "[red]NO[/red]"
        table.add_row(title, bar.figure, *cells(bar, report), verified)


async def measure(rows: Sequence[Row], console: Console, *, quick: bool) -> tuple[Table, bool]:
    """Run the rows one after the other; return the table and whether all were verified."""
    title = "quick look: short runs, not the definition" if quick else "three nodes, fsync"
    table = Table("scenario", "figure", "measured", "bar", "", "verified", title=title)
    all_verified = True
    for row in rows:
        console.print(f"[bold]{row.title}[/bold]")
        try:
            report = await run(row.scenario, options_of(row, quick=quick), console.print)
        except (RaftlogError, TimeoutError, OSError) as error:
            add_row(table, row, None, f"failed: {error}")
            all_verified = False
            continue
        all_verified = all_verified and report.verified
        add_row(table, row, report, "")
    return table, all_verified


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.table", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs, for a look")
    parser.add_argument("--only", default="", help="rows whose title contains this text")
    chosen = parser.parse_args(arguments)
    rows = [row for row in ROWS if chosen.only in row.title]
    table, verified = run_on_loop(measure(rows, Console(stderr=True), quick=chosen.quick))
    Console(width=TABLE_WIDTH).print(table)
    return 0 if verified and rows else 1


if __name__ == "__main__":
    sys.exit(main())
