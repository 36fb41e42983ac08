"""The simulator itself, run as a suite: no violation, the same digest, and nothing left out."""

import os
import subprocess
import sys
from itertools import chain, islice

import pytest

from chaos.seeds.found import known_findings
from chaos.sim.__main__ import run_seeds, shortfalls
from chaos.sim.run import Verdict, run_seed
from chaos.sim.swarm import is_big

FOUND = [finding.seed for finding in known_findings()]
"""They found something once. Today they are runs like any others."""
SMALL = (seed for seed in range(1_000) if not is_big(seed))
SEEDS = list(islice(dict.fromkeys(chain(FOUND, SMALL)), 200))


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    """Two hundred seeds, in two processes of their own."""
    return run_seeds(SEEDS, jobs=2)


@pytest.mark.timeout(600)
def test_two_hundred_seeds_break_nothing_and_reach_every_mark(
    verdicts: list[Verdict],
) -> None:
    """A suite that no longer reaches what it tests must not stay green."""
    assert shortfalls(verdicts) == []
    assert len(verdicts) == 200


@pytest.mark.timeout(600)
def test_every_twentieth_seed_run_again_has_the_same_digest(verdicts: list[Verdict]) -> None:
    """The first run was in another process, with another hash seed."""
    for verdict in verdicts[::20]:
        assert run_seed(verdict.seed) == verdict


def test_a_seed_has_one_digest_whatever_the_hash_seed() -> None:
    """Iterating a set of strings would give another order, and another run."""
    code = "from chaos.sim.run import run_seed; print(run_seed(3).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1")
    }
    assert len(digests) == 1


def test_different_seeds_are_different_runs(verdicts: list[Verdict]) -> None:
    """A digest that never changes would prove nothing."""
    assert len({verdict.digest for verdict in verdicts}) == len(verdicts)
