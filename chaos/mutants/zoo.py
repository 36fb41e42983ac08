"""Runs mutants, each in a process of its own, and says who caught which."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from chaos.mutants.patches import Mutant

ROOT: Final = Path(__file__).parents[2]
CHILD_SECONDS_MAX: Final = 900


class Capture(msgspec.Struct, frozen=True):
    """What became of one mutant. ``catcher`` is None if it survived."""

    name: str
    catcher: str | None
    seeds: int
    how: str


def hunt(mutant: Mutant, seeds: int) -> Capture:
    """Run one mutant until somebody sees it, or through ``seeds`` seeds."""
    command = [sys.executable, "-m", "chaos.mutants.child", mutant.name, str(seeds)]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Capture(mutant.name, None, seeds, f"not caught in {CHILD_SECONDS_MAX} s")
    if done.returncode:
        return Capture(mutant.name, None, 0, f"the child ended badly: {done.stderr[-2_000:]}")
    return msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=Capture)


def hunt_all(mutants: Sequence[Mutant], seeds: int, jobs: int) -> list[Capture]:
    """Run mutants, ``jobs`` at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda mutant: hunt(mutant, seeds), mutants))


def table(captures: Sequence[Capture]) -> str:
    """Return the zoo's table: mutant, catcher, seeds."""
    rows = [
        f"{capture.name:66} {capture.catcher or 'SURVIVED':40} {capture.seeds or '':>5}"
        + ("" if capture.catcher else f"  {capture.how[-200:]}")
        for capture in captures
    ]
    return "\n".join(rows)
