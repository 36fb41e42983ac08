"""``python -m chaos.mutants``: the whole zoo; exit code 1 if a mutant survives or does not fit."""

import argparse
import sys

from chaos.mutants.patches import MUTANTS
from chaos.mutants.zoo import hunt_all, table


def main() -> int:
    """Run the mutants that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m chaos.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="at most so many for each")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="mutants whose names contain this")
    options = parser.parse_args()
    mutants = [mutant for mutant in MUTANTS if options.only in mutant.name]
    captures = hunt_all(mutants, options.seeds, options.jobs)
    print(table(captures))
    survivors = [capture for capture in captures if capture.catcher is None]
    print(f"{len(captures) - len(survivors)} of {len(captures)} caught")
    return 1 if survivors or not captures else 0


if __name__ == "__main__":
    sys.exit(main())
