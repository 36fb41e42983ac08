"""``python -m chaos.mutants.child NAME SEEDS``: one mutant, in this process.

Prints one JSON line: who caught it, after how many seeds, and how. Nothing of
raftlog may be imported before the hook is installed.
"""

import json
import sys

from chaos.mutants.hook import install
from chaos.mutants.patches import Mutant, find


def _by_simulator(seeds: int) -> tuple[str | None, int, str]:
    from chaos.sim.run import run_seed  # noqa: PLC0415  (after the hook)
    from chaos.sim.swarm import is_big  # noqa: PLC0415

    count = 0
    for seed in range(seeds):
        if is_big(seed):
            continue
        count += 1
        verdict = run_seed(seed)
        if verdict.failure is not None:
            return f"simulator: {verdict.invariant}", count, verdict.failure
    return None, count, ""


def _by_tests(mutant: Mutant) -> tuple[str | None, int, str]:
    import pytest  # noqa: PLC0415  (it imports much)

    code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *mutant.tests])
    if code == pytest.ExitCode.TESTS_FAILED:
        return f"tests: {mutant.tests[0]}", 0, "a test failed"
    return None, 0, f"pytest ended with {code}"


def main() -> int:
    """Run the mutant that the command line names."""
    mutant = find(sys.argv[1])
    install(mutant)
    catcher, seeds, how = _by_tests(mutant) if mutant.tests else _by_simulator(int(sys.argv[2]))
    print(json.dumps({"name": mutant.name, "catcher": catcher, "seeds": seeds, "how": how}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
