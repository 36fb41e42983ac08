"""``python -m chaos.mutants.child NAME FIRST END [TESTS]``: one mutant, in this process.

An empty name is the product as it is.

Prints one JSON line: who caught it, after how many seeds, and how. Nothing of
raftlog may be imported before the hook is installed.
"""

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from chaos.mutants.hook import install
from chaos.mutants.mutant import Mutant
from chaos.mutants.patches import find
from chaos.sim.steered_work import STEERED

if TYPE_CHECKING:
    from chaos.sim.swarm import BrokerConfig

WORKS: "Final[dict[str, Callable[[BrokerConfig], bool]]]" = {
    "queue groups": lambda broker: broker.leases is not None,
    "settlers": lambda broker: broker.leases is not None and broker.leases.settles > 0,
    "staged": lambda broker: broker.staged is not None,
    "filtered groups": lambda broker: (
        broker.leases is not None and any(of.wanted is not None for of in broker.leases.groups)
    ),
    "sought groups": lambda broker: broker.leases is not None and broker.leases.seeks_per_s > 0,
    "steered": lambda broker: STEERED in broker.groups,
    "types": lambda broker: broker.types > 0,
}
"""Parts of the workload by name: whether a seed has one."""


def _by_simulator(seeds: range, mutant: Mutant | None) -> dict[str, object]:
    from chaos.sim.run import keep_what_stays, run_quickly  # noqa: PLC0415  (after the hook)
    from chaos.sim.swarm import draw_config  # noqa: PLC0415

    keep_what_stays()
    matters = _matters(mutant)
    count = events = 0
    for seed in seeds:
        if not matters(seed):
            continue
        count += 1
        verdict = run_quickly(draw_config(seed))
        events += verdict.events
        if verdict.failure is not None:
            catcher = {"catcher": verdict.invariant, "how": verdict.failure, "last": seed}
            return {**catcher, "seeds": count, "events": events}
    return {"catcher": None, "seeds": count, "events": events, "how": "no seed failed"}


def _matters(mutant: Mutant | None) -> Callable[[int], bool]:
    """Return whether a seed has what the bug needs; big ones are never run."""
    from chaos.sim.faults import Fault  # noqa: PLC0415  (after the hook)
    from chaos.sim.swarm import draw_config, is_big  # noqa: PLC0415

    if mutant is None:
        return lambda _: True
    needs = [Fault[name] for name in mutant.needs]
    if not needs and not mutant.is_of_broker:
        return lambda seed: not is_big(seed)

    def matters(seed: int) -> bool:
        if is_big(seed):
            return False
        config = draw_config(seed)
        has_faults = all(fault in config.periods_ns for fault in needs)
        broker = config.broker
        if broker is None:
            return has_faults and not mutant.is_of_broker
        works = (
            (mutant.is_of_leases, broker.leases),
            (mutant.is_of_halves, broker.halves),
            (mutant.is_of_letters, broker.letters),
            (mutant.is_of_quotas, broker.quotas),
        )
        has_works = all(work is not None for needed, work in works if needed)
        return has_faults and has_works and all(WORKS[name](broker) for name in mutant.works)

    return matters


def _by_tests(tests: list[str]) -> dict[str, object]:
    import pytest  # noqa: PLC0415  (it imports much)

    # Plain: pytest's own import hook would stand before ours and load the module unpatched.
    options = ["-q", "-x", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = pytest.main([*options, *tests])
    if code == pytest.ExitCode.TESTS_FAILED:
        return {"catcher": " ".join(tests), "how": "a test failed"}
    how = "all tests passed" if code == pytest.ExitCode.OK else f"the child's pytest ended {code}"
    return {"catcher": None, "how": how}


def main() -> int:
    """Run the mutant that the command line names."""
    name, first, end, *tests = sys.argv[1:]
    mutant = find(name) if name else None
    if mutant is not None:
        install(mutant)
    seeds = range(int(first), int(end))
    result = _by_tests(tests) if tests else _by_simulator(seeds, mutant)
    print(json.dumps({"name": name, **result}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
