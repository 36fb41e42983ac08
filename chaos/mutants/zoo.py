"""Runs mutants, each in a process of its own, and says who caught which."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from chaos.mutants.mutant import Mutant

ROOT: Final = Path(__file__).parents[2]
CHILD_SECONDS_MAX: Final = 900


class Capture(msgspec.Struct, frozen=True):
    """What became of one mutant. ``catcher`` is None if it survived."""

    name: str
    catcher: str | None
    seeds: int
    how: str
    last: int = 0
    """The seed at which it was caught."""


def hunt(mutant: Mutant, seeds: int) -> Capture:
    """Run one mutant until somebody sees it, or through ``seeds`` seeds.

    A capture counts only if the product without the mutant passes there: else
    a bug of the product would pass for a good catcher.
    """
    capture = _run(mutant.name, mutant, seeds, first=0)
    while capture.catcher is not None:
        clean = _run("", mutant, capture.last + 1, first=capture.last)
        if clean.catcher is None and not clean.how.startswith("the child"):
            return capture
        if mutant.tests:
            return Capture(mutant.name, None, 0, f"the product fails itself: {clean.how}")
        capture = _run(mutant.name, mutant, seeds, first=capture.last + 1)
    return capture


def _run(name: str, mutant: Mutant, seeds: int, *, first: int) -> Capture:
    command = [sys.executable, "-m", "chaos.mutants.child", name, str(first), str(seeds)]
    command += mutant.tests
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
    capture = msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=Capture)
    return msgspec.structs.replace(capture, name=mutant.name)


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
