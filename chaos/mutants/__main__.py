"""``python -m chaos.mutants``: the whole zoo; exit code 1 if a mutant survives or does not fit."""

import argparse
import sys
import time

from chaos.mutants.patches import MUTANTS
from chaos.mutants.report import PAGE, line, record, rows_of
from chaos.mutants.zoo import hunt_all


def main() -> int:
    """Run the mutants that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m chaos.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="those below this number")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="mutants whose names contain this")
    parser.add_argument("--record", action="store_true", help="write docs/reference")
    options = parser.parse_args()
    mutants = [mutant for mutant in MUTANTS if options.only in mutant.name]
    # Who took longest last time first: else one of two processes waits for the other at the end.
    after = {row.name: row.after or 0 for row in rows_of(PAGE.read_text("utf-8"))}
    mutants.sort(key=lambda mutant: after.get(mutant.name, 0), reverse=True)
    started = time.perf_counter()
    caught = seeds = events = 0
    for capture in hunt_all(mutants, options.seeds, options.jobs):
        print(line(capture), flush=True)
        if options.record:
            record(MUTANTS, capture)
        caught += capture.catcher is not None
        seeds += capture.seeds
        events += capture.events
    seconds = time.perf_counter() - started
    print(f"{caught} of {len(mutants)} caught; {seeds} seeds, {events} events in {seconds:.0f} s")
    return 1 if caught < len(mutants) or not mutants else 0


if __name__ == "__main__":
    sys.exit(main())
