"""``python -m chaos.crash``: make crash states, recover each, print the counts.

Exit code 1 if a state breaks the contract, if fewer than ``--at-least`` were made, or if
a workload or a class of states did not occur.
"""

import argparse
import sys
import time
from collections import Counter
from multiprocessing import get_context
from typing import Final

from chaos.crash.states import CLASSES
from chaos.crash.suite import WORKLOADS, Broken, Examination, Examined, examine

STEPS: Final = 12
"""Steps of one workload: a hundred moments or two."""
SHOWN_MAX: Final = 20


def tasks(seeds: int, steps: int, share: float) -> list[tuple[str, int, int, float]]:
    """Return what is to be examined: every workload with every seed."""
    return [(name, seed, steps, share) for seed in range(1, seeds + 1) for name in WORKLOADS]


def run(seeds: int, jobs: int, steps: int = STEPS, share: float = 1.0) -> list[Examined]:
    """Examine every workload with every seed, in ``jobs`` processes."""
    todo = tasks(seeds, steps, share)
    if jobs == 1:
        return [examine(task) for task in todo]
    with get_context("spawn").Pool(jobs) as pool:
        return pool.map(examine, todo, chunksize=1)


def totals(found: list[Examined]) -> dict[str, Counter[str]]:
    """Return counts of states by workload, then by class."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in WORKLOADS}
    for examined in found:
        counts[examined.workload].update(examined.counts)
        counts[examined.workload]["moments"] += examined.moments
    return counts


def shortfalls(found: list[Examined], at_least: int) -> list[str]:
    """Return what a run lacks, one sentence each."""
    counts = totals(found)
    by_class: Counter[str] = sum(counts.values(), Counter())
    states = sum(by_class[kind] for kind in CLASSES)
    lacking = [f"no state of class {kind!r}" for kind in CLASSES if not by_class[kind]]
    lacking += [f"no state of workload {name!r}" for name, each in counts.items() if not each]
    if states < at_least:
        lacking.append(f"{states} states are fewer than {at_least}")
    return lacking


def table(found: list[Examined]) -> str:
    """Return the counts as a table."""
    columns = ("moments", *CLASSES, "states")
    rows: list[tuple[str, ...]] = [("workload", *columns)]
    counts = totals(found)
    counts["all"] = sum(counts.values(), Counter())
    for name, each in counts.items():
        each["states"] = sum(each[kind] for kind in CLASSES)
        rows.append((name, *(str(each[column]) for column in columns)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join((name.ljust(widths[0]), *right)))
    return "\n".join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.crash", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="each workload runs so often")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--at-least", type=int, default=0, help="states that must be made")
    parser.add_argument("--workload", choices=list(WORKLOADS), help="look at one state, or at all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--moment", type=int)
    parser.add_argument("--state", help="as it was printed")
    return parser.parse_args()


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    options = _parse()
    started = time.perf_counter()
    if options.workload is None:
        found = run(options.seeds, options.jobs)
        lacking = shortfalls(found, options.at_least)
    else:
        examination = Examination(options.workload, options.seed, STEPS)
        one = options.moment is not None and options.state is not None
        found = [examination.run_one(options.moment, options.state) if one else examination.run()]
        lacking = []
    broken: list[Broken] = [each for examined in found for each in examined.broken]
    for each in broken[:SHOWN_MAX]:
        print(f"BROKEN {each}")
    print(table(found))
    for line in lacking:
        print(f"FAILED {line}")
    seconds = time.perf_counter() - started
    states = sum(sum(examined.counts.values()) for examined in found)
    print(f"{states} crash states in {seconds:.0f} s: {len(broken)} broken contracts")
    return 1 if broken or lacking else 0


if __name__ == "__main__":
    sys.exit(main())
