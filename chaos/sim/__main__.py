"""``python -m chaos.sim``: run seeds, print one line for each failure that replays it.

Exit code 1 if a seed failed, if nothing ever succeeded in one, or if a
required kind of fault or path was never reached in the whole set: a suite that
no longer reaches what it tests must not stay green.
"""

import argparse
import sys
import time
from collections.abc import Iterable
from multiprocessing import get_context
from typing import Final

from chaos.sim.run import Verdict, merge, run_seed
from chaos.sim.swarm import draw_config

REQUIRED: Final = (
    "acked",
    "batches read",
    "bits rotten",
    "claims",
    "crashes beside the log",
    "crashes in recovery",
    "crashes in writes",
    "duplicates",
    "elections",
    "ends asked",
    "false hints",
    "fences",
    "forwarded reads",
    "group commits",
    "index files compared",
    "kills",
    "loads",
    "members asleep",
    "members expired",
    "never: not_stored",
    "not committed",
    "partitions",
    "pauses",
    "power cuts",
    "producers crashed",
    "queues gone",
    "read errors",
    "reads",
    "refused: duplicate_forgotten",
    "refused: fenced",
    "refused: not_permitted",
    "refused: offset_goes_back",
    "refused: out_of_order",
    "refused: unknown_producer",
    "rejections",
    "repairs",
    "requests late",
    "requests lost",
    "seeks",
    "slow disks",
    "starts moved",
    "states restored",
    "stopped by itself",
    "throttled",
    "times found",
    "topics deleted",
    "transfers",
    "truncations",
    "unknown",
    "zombies fenced",
)
"""Marks that a large set of seeds must reach at least once."""
REQUIRED_FROM_SEEDS: Final = 100
"""A smaller set is a look, not a suite: its marks are shown and not demanded."""


def run_seeds(seeds: Iterable[int], jobs: int) -> list[Verdict]:
    """Run seeds in ``jobs`` processes; verdicts come in the order of the seeds."""
    if jobs == 1:
        return [run_seed(seed) for seed in seeds]
    # Spawned, not forked: each worker has a hash seed of its own, and must not care.
    with get_context("spawn").Pool(jobs) as pool:
        return pool.map(run_seed, seeds, chunksize=2)


def shortfalls(verdicts: list[Verdict]) -> list[str]:
    """Return what a set of verdicts lacks, one sentence each."""
    found = [
        f"seed {verdict.seed}: {verdict.failure}  "
        f"(python -m chaos.sim --seed {verdict.seed} --verbose)"
        for verdict in verdicts
        if verdict.failure is not None
    ]
    found += [
        f"seed {verdict.seed}: nothing succeeded"
        for verdict in verdicts
        if verdict.failure is None and not verdict.marks.get("acked")
    ]
    if len(verdicts) >= REQUIRED_FROM_SEEDS:
        reached = merge(verdicts)
        found += [f"no seed reached {mark!r}" for mark in REQUIRED if not reached[mark]]
    return found


def _print_one(verdict: Verdict) -> None:
    print(draw_config(verdict.seed))
    for mark, count in verdict.marks.items():
        print(f"{count:8} {mark}")
    print(f"digest {verdict.digest}, {verdict.events} events")
    if verdict.detail:
        print(verdict.detail)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.sim", description=__doc__)
    parser.add_argument("--seeds", default="0:100", help="first:end, the end not included")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-v", "--verbose", action="store_true")
    return parser.parse_args()


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    options = _parse()
    first, end = (int(each) for each in options.seeds.split(":"))
    seeds = range(first, end) if options.seed is None else [options.seed]
    started = time.perf_counter()
    verdicts = run_seeds(seeds, 1 if len(seeds) == 1 else options.jobs)
    seconds = time.perf_counter() - started
    if options.verbose:
        for verdict in verdicts:
            _print_one(verdict)
    for mark, count in sorted(merge(verdicts).items()):
        print(f"{count:8} seeds reached {mark}")
    events = sum(verdict.events for verdict in verdicts)
    acked = sum(verdict.marks.get("acked", 0) for verdict in verdicts)
    lacking = shortfalls(verdicts)
    print(
        f"{len(verdicts)} seeds, {events} events, {acked} acked appends in {seconds:.1f} s "
        f"({events / seconds:.0f} events/s): {len(lacking)} failures"
    )
    for line in lacking:
        print(f"FAILED {line}")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
