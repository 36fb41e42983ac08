"""``python -m chaos.sim``: run seeds, print one line for each failure that replays it.

Exit code 1 if a seed failed, if nothing ever succeeded in one, or if a
required kind of fault or path was never reached in the whole set: a suite that
no longer reaches what it tests must not stay green.

A run that is stopped (SIGINT) counts for what came before, in the ledger too.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import msgspec

from chaos.seeds.code import code_of_commit
from chaos.seeds.ledger import Entry, append
from chaos.sim.marks import REQUIRED, REQUIRED_FROM_SEEDS
from chaos.sim.run import Run, Verdict, begin_worker, merge, run_config, run_quickly, verdict_of
from chaos.sim.shrink import shrink
from chaos.sim.swarm import SeedConfig, draw_config
from chaos.sim.timeline import Timeline

TOLD_EVERY: Final = 500
"""Seeds between two signs of life."""
CHUNKS_EACH: Final = 100
"""Pieces of work after which a worker process is replaced."""
STOPPED: Final = 130
"""Exit code of a run that found nothing until it was stopped."""


def run_seeds(seeds: Iterable[int], jobs: int) -> list[Verdict]:
    """Run seeds in ``jobs`` processes; verdicts come in the order of the seeds."""
    return list(_verdicts([draw_config(seed) for seed in seeds], jobs))


def _verdicts(configs: Sequence[SeedConfig], jobs: int) -> Iterator[Verdict]:
    if jobs == 1:
        yield from map(run_quickly, configs)
        return
    # Spawned, not forked: each worker has a hash seed of its own, and must not care. Replaced
    # now and then: proposals are not seen by the garbage collector (they are many), so those
    # of a process that was killed keep its whole world in memory.
    workers = get_context("spawn").Pool(
        jobs, initializer=begin_worker, maxtasksperchild=CHUNKS_EACH
    )
    with workers as pool:
        yield from pool.imap(run_quickly, configs, chunksize=2)


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


def _print_one(verdict: Verdict, config: SeedConfig) -> None:
    print(config)
    for mark, count in verdict.marks.items():
        print(f"{count:8} {mark}")
    print(f"digest {verdict.digest}, {verdict.events} events")
    if verdict.failure is not None:
        run = Run(config)
        timeline = Timeline(run)
        verdict_of(run)
        print("\n".join(timeline.lines()))
    if verdict.detail:
        print(verdict.detail)


def _shrink(config: SeedConfig, path: Path) -> int:
    """Write the simplest run found that breaks what ``config`` breaks; return the exit code."""
    broken = run_config(config).invariant
    if broken is None:
        print(f"seed {config.seed} does not fail: nothing to shrink")
        return 1

    def fails(simpler: SeedConfig) -> bool:
        return run_config(simpler).invariant == broken

    smallest = shrink(config, fails, lambda what: print(f"still breaks {broken}: {what}"))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(smallest)))
    print(f"python -m chaos.sim --config {path} --verbose")
    return 0


def _tell(verdict: Verdict) -> None:
    """Say at once what a run of hours has found, and that it goes on."""
    if verdict.failure is not None:
        print(f"seed {verdict.seed}: {verdict.failure}", file=sys.stderr, flush=True)
    elif not verdict.seed % TOLD_EVERY and verdict.seed:
        print(f"seed {verdict.seed}", file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.sim", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seeds", default="0:100", help="first:end, the end not included")
    which.add_argument("--seed", type=int, help="one seed")
    which.add_argument("--config", type=Path, help="one run that --shrink has written")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--ledger", action="store_true", help="write the run into chaos/seeds/ledger.txt"
    )
    parser.add_argument("--shrink", type=Path, help="make a failing run simpler, into this file")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="what was drawn; of a failure, what happened"
    )
    return parser.parse_args()


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    options = _parse()
    first, end = (int(each) for each in options.seeds.split(":"))
    # Asked first: hours of seeds that nobody can name would be wasted.
    code = code_of_commit() if options.ledger else None
    if code is not None and (options.seed is not None or options.config is not None):
        print("the ledger holds ranges of seeds: --seeds first:end", file=sys.stderr)
        return 2
    if options.config is not None:
        configs = [msgspec.json.decode(options.config.read_bytes(), type=SeedConfig)]
    else:
        seeds = range(first, end) if options.seed is None else [options.seed]
        configs = [draw_config(seed) for seed in seeds]
    if options.shrink is not None:
        return _shrink(configs[0], options.shrink)
    started = time.perf_counter()
    verdicts: list[Verdict] = []
    was_stopped = False
    try:
        for verdict in _verdicts(configs, 1 if len(configs) == 1 else options.jobs):
            verdicts.append(verdict)
            _tell(verdict)
    except KeyboardInterrupt:
        was_stopped = True
        print(f"stopped after {len(verdicts)} of {len(configs)} seeds", file=sys.stderr)
    seconds = time.perf_counter() - started
    events = sum(verdict.events for verdict in verdicts)
    acked = sum(verdict.marks.get("acked", 0) for verdict in verdicts)
    lacking = shortfalls(verdicts)
    if code is not None and verdicts:
        failed = sum(bool(verdict.failure) for verdict in verdicts)
        missing = len(lacking) - failed
        append(Entry(code, first, first + len(verdicts), events, acked, failed, missing))
    if options.verbose:
        for verdict, config in zip(verdicts, configs, strict=not was_stopped):
            _print_one(verdict, config)
    for mark, count in sorted(merge(verdicts).items()):
        print(f"{count:8} seeds reached {mark}")
    print(
        f"{len(verdicts)} seeds, {events} events, {acked} acked appends in {seconds:.1f} s "
        f"({events / seconds:.0f} events/s): {len(lacking)} failures"
    )
    for line in lacking:
        print(f"FAILED {line}")
    if lacking:
        return 1
    return STOPPED if was_stopped else 0


if __name__ == "__main__":
    sys.exit(main())
