"""``python -m chaos.damage``: damage every byte of one replica, print how the cases ended.

Exit code 1 if a case breaks a demand.
"""

import argparse
import sys
import time
from collections import Counter
from multiprocessing import get_context
from typing import Final

from chaos.damage.base import make_base
from chaos.damage.runner import Swept, every_case, sweep, sweep_part

PARTS: Final = 32
SHOWN_MAX: Final = 20


def _run(jobs: int) -> list[Swept]:
    parts = [(number, PARTS) for number in range(PARTS)]
    if jobs == 1:
        return [sweep_part(part) for part in parts]
    with get_context("spawn").Pool(jobs) as pool:
        return pool.map(sweep_part, parts, chunksize=1)


def _run_one(name: str) -> list[Swept]:
    base = make_base()
    chosen = [case for case in every_case(base) if case.name == name]
    if not chosen:
        sys.exit(f"there is no case {name!r}")
    return [sweep(base, chosen)]


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos.damage", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--case", help="one case, as it was printed")
    options = parser.parse_args()
    started = time.perf_counter()
    found = _run(options.jobs) if options.case is None else _run_one(options.case)
    seconds = time.perf_counter() - started
    broken = [each for swept in found for each in swept.broken]
    for name, what in broken[:SHOWN_MAX]:
        print(f"BROKEN {what}\n    python -m chaos.damage --case '{name}'")
    counts: Counter[tuple[str, str]] = sum((swept.counts for swept in found), Counter())
    for (group, end), count in sorted(counts.items()):
        print(f"{count:8} {group}: {end}")
    total = counts.total() + len(broken)
    print(f"{total} cases of damage in {seconds:.0f} s: {len(broken)} broken demands")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
