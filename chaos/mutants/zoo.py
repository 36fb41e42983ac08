"""Runs mutants, each in a process of its own, and says who caught which."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Lock
from typing import Final

import msgspec

from chaos.mutants.mutant import Mutant

ROOT: Final = Path(__file__).parents[2]
CHILD_SECONDS_MAX: Final = 3_600
"""A bug that makes the product loop for ever is not caught by waiting longer."""


class Capture(msgspec.Struct, frozen=True):
    """What became of one mutant. ``catcher`` is None if it survived."""

    name: str
    catcher: str | None
    """An invariant (a file of ``chaos/check``), ``crash``, or the tests."""
    how: str
    seeds: int = 0
    """How many were run; 0: tests were."""
    events: int = 0
    last: int = 0
    """The seed at which it was caught."""


class Healthy:
    """What the product itself does where a mutant was caught: each place is asked about once."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, ...] | int, Future[Capture]] = {}
        self._lock: Final = Lock()

    def at(self, mutant: Mutant, seed: int) -> Capture:
        """Return what comes of the mutant's tests, or else of ``seed``, without the mutant."""
        place = mutant.tests or seed
        with self._lock:
            asked = self._asked.get(place)
            is_known = asked is not None
            if asked is None:
                asked = self._asked[place] = Future()
        if not is_known:
            try:
                asked.set_result(_run("", mutant, seed + 1, first=seed))
            except BaseException as error:
                asked.set_exception(error)
                raise
        return asked.result()


def hunt(mutant: Mutant, seeds: int, healthy: Healthy | None = None) -> Capture:
    """Run one mutant until somebody sees it, or through the seeds below ``seeds``.

    A capture counts only if the product without the mutant passes there: else
    a bug of the product would pass for a good catcher.
    """
    healthy = healthy or Healthy()
    before = Capture(mutant.name, None, "")
    while True:
        first = before.last + 1 if before.seeds else 0
        capture = _run(mutant.name, mutant, seeds, first=first)
        capture = msgspec.structs.replace(
            capture,
            seeds=before.seeds + capture.seeds,
            events=before.events + capture.events,
        )
        if capture.catcher is None:
            return capture
        clean = healthy.at(mutant, capture.last)
        if clean.catcher is None and not clean.how.startswith("the child"):
            return capture
        if mutant.tests:
            return Capture(mutant.name, None, f"the product fails itself: {clean.how}")
        before = capture


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
        return Capture(mutant.name, None, f"the child did not end within {CHILD_SECONDS_MAX} s")
    if done.returncode:
        return Capture(mutant.name, None, f"the child ended badly: {done.stderr[-2_000:]}")
    capture = msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=Capture)
    return msgspec.structs.replace(capture, name=mutant.name)


def hunt_all(mutants: Sequence[Mutant], seeds: int, jobs: int) -> Iterator[Capture]:
    """Run mutants, ``jobs`` at a time; captures come as they are made."""
    healthy = Healthy()
    with ThreadPoolExecutor(jobs) as pool:
        hunts = [pool.submit(hunt, mutant, seeds, healthy) for mutant in mutants]
        for done in as_completed(hunts):
            yield done.result()
