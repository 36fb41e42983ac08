"""CPU per record, process by process: what can be compared on a machine with other work.

``python -m bench.cost [--only TEXT] [--rounds N] [--against CHECKOUT]``. Every run sends a
fixed number of records. Wall clock depends on the neighbours, CPU much less: per record and
process, microseconds of CPU (user and system) and the times a thread gave its processor away to
wait, medians of the rounds. With ``--against``, another checkout (with its own ``.venv``) is
measured in turn with this one, and ``ratio`` is this one's share of the other's CPU.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from raftlog.testing.bench.report import Report

HERE: Final = Path(__file__).resolve().parents[1]
CLIENT: Final = "client"
TABLE_WIDTH: Final = 132


class Run(msgspec.Struct, frozen=True):
    """One command line of the bench; its sends are counted, not timed."""

    title: str
    arguments: str


RUNS: Final = (
    Run("one at a time, 100 B", "send --size 100 --in-flight 1 --count 3000"),
    Run("64 in flight, 1 KiB", "send --size 1024 --in-flight 64 --count 150000"),
    Run("1024 in flight, 100 B", "send --size 100 --in-flight 1024 --count 600000"),
    Run("batches of 64 KiB", "send --size 1024 --in-flight 16 --batch 64 --count 6000"),
    Run("embedded, 1024 in flight", "embedded --size 100 --in-flight 1024 --count 600000"),
    Run("over 10 000 queues", "send --size 100 --in-flight 64 --queues 10000 --count 100000"),
)


class Cost(msgspec.Struct, frozen=True):
    """What one record cost: microseconds of CPU, and waits."""

    cpu_us: dict[str, float]
    waits: dict[str, float]


def cost_of(report: Report) -> Cost:
    """Divide a run by its records. The node that worked most is the leader."""
    roles = {CLIENT: CLIENT} if CLIENT in report.cpu_s else {}
    nodes = sorted(
        (name for name in report.cpu_s if name not in roles), key=report.cpu_s.__getitem__
    )
    roles |= {name: f"follower {place}" for place, name in enumerate(nodes, 1)}
    roles[nodes[-1]] = "leader"
    return Cost(
        {role: report.cpu_s[name] * 1e6 / report.records for name, role in roles.items()},
        {
            role: report.waits[name] / report.records
            for name, role in roles.items()
            if name in report.waits
        },
    )


def measure(checkout: Path, run: Run) -> Cost:
    """Run the bench of a checkout.

    Raises:
        CalledProcessError: It failed, or what it read back is not what was acknowledged.
    """
    command = [str(checkout / ".venv/bin/raftlog"), "bench", *run.arguments.split(), "-o", "json"]
    done = subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    return cost_of(msgspec.json.decode(done.stdout, type=Report))


def middle(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each process's figures, and of their sum."""
    roles = found[0]
    middles = {role: median(each[role] for each in found) for role in roles} if roles else {}
    if roles:
        middles["all"] = median(sum(each.values()) for each in found)
    return middles


def add_rows(table: Table, run: Run, ours: Sequence[Cost], theirs: Sequence[Cost]) -> None:
    """Add a run's rows: one for each process, and one for all of them."""
    cpu, waits = middle([each.cpu_us for each in ours]), middle([each.waits for each in ours])
    before = middle([each.cpu_us for each in theirs]) if theirs else {}
    waited = middle([each.waits for each in theirs]) if theirs else {}
    for place, role in enumerate(cpu):
        cells = [f"{cpu[role]:.2f}", f"{waits[role]:.3f}"]
        if role in before:
            cells += [f"{before[role]:.2f}", f"{cpu[role] / before[role]:.3f}"]
        if role in waited:
            cells.append(f"{waited[role]:.3f}")
        table.add_row("" if place else run.title, role, *cells, end_section=role == "all")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=__doc__)
    parser.add_argument("--only", default="", help="runs whose title contains this text")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each checkout")
    parser.add_argument("--against", type=Path, help="another checkout, measured in turn")
    chosen = parser.parse_args(arguments)
    progress, show = Console(stderr=True), Console(width=TABLE_WIDTH)
    columns = ["", "process", "CPU us/record", "waits/record"]
    columns += ["other: CPU", "ratio", "other: waits"] if chosen.against else []
    table = Table(*columns, title=f"medians of {chosen.rounds}")
    for run in (run for run in RUNS if chosen.only in run.title):
        ours: list[Cost] = []
        theirs: list[Cost] = []
        for number in range(chosen.rounds):
            progress.print(f"{run.title}: round {number + 1}")
            if chosen.against:
                theirs.append(measure(chosen.against.resolve(), run))
            ours.append(measure(HERE, run))
        add_rows(table, run, ours, theirs)
    show.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
