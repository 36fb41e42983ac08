"""``python -m chaos.mutants.child NAME FIRST END [TESTS]``: one mutant, in this process.

An empty name is the product as it is.

Prints one JSON line: who caught it, after how many seeds, and how. Nothing of
raftlog may be imported before the hook is installed.
"""

import json
import sys

from chaos.mutants.hook import install
from chaos.mutants.patches import find


def _by_simulator(seeds: range, *, broker: bool) -> dict[str, object]:
    from chaos.sim.run import run_seed  # noqa: PLC0415  (after the hook)
    from chaos.sim.swarm import draw_config, is_big  # noqa: PLC0415

    count = 0
    for seed in seeds:
        if is_big(seed) or (broker and draw_config(seed).broker is None):
            continue
        count += 1
        verdict = run_seed(seed)
        if verdict.failure is not None:
            catcher = f"simulator: {verdict.invariant}"
            return {"catcher": catcher, "seeds": count, "how": verdict.failure, "last": seed}
    return {"catcher": None, "seeds": count, "how": "no seed failed"}


def _by_tests(tests: list[str]) -> dict[str, object]:
    import pytest  # noqa: PLC0415  (it imports much)

    # Plain: pytest's own import hook would stand before ours and load the module unpatched.
    options = ["-q", "-x", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = pytest.main([*options, *tests])
    if code == pytest.ExitCode.TESTS_FAILED:
        return {"catcher": f"tests: {tests[0]}", "seeds": 0, "how": "a test failed"}
    how = "all tests passed" if code == pytest.ExitCode.OK else f"the child's pytest ended {code}"
    return {"catcher": None, "seeds": 0, "how": how}


def main() -> int:
    """Run the mutant that the command line names."""
    name, first, end, *tests = sys.argv[1:]
    broker = False
    if name:
        mutant = find(name)
        install(mutant)
        broker = mutant.is_of_broker
    seeds = range(int(first), int(end))
    result = _by_tests(tests) if tests else _by_simulator(seeds, broker=broker)
    print(json.dumps({"name": name, **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
