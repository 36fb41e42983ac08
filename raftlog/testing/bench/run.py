"""Runs one scenario by its name."""

from raftlog.base.errors import Refused
from raftlog.testing.bench.consuming import run_consume
from raftlog.testing.bench.delaying import run_delayed
from raftlog.testing.bench.embedded import run_embedded
from raftlog.testing.bench.failover import run_failover
from raftlog.testing.bench.lagging import run_lag
from raftlog.testing.bench.leasing import run_queue
from raftlog.testing.bench.pace import Say
from raftlog.testing.bench.processing import run_atomic
from raftlog.testing.bench.rejoining import run_rejoin
from raftlog.testing.bench.report import SCENARIOS, Options, Report
from raftlog.testing.bench.restarting import run_memory, run_restart
from raftlog.testing.bench.sending import run_send
from raftlog.testing.bench.target import target_of
from raftlog.testing.bench.transacting import run_transactions

ON_A_CLUSTER = {
    "send": run_send,
    "consume": run_consume,
    "failover": run_failover,
    "restart": run_restart,
    "rejoin": run_rejoin,
    "lag": run_lag,
    "delayed": run_delayed,
    "queue": run_queue,
    "transactions": run_transactions,
    "atomic": run_atomic,
    "memory": run_memory,
}
OWN_PROCESSES = frozenset({"failover", "restart", "rejoin", "lag", "delayed", "memory"})
assert {*ON_A_CLUSTER, "embedded"} == set(SCENARIOS)


async def run(scenario: str, options: Options, say: Say) -> Report:
    """Run ``scenario`` and return its report.

    Raises:
        Refused: There is no such scenario, or it needs processes of its own.
        RaftlogError: The cluster could not be started or used.
    """
    if scenario == "embedded":
        return await run_embedded(options, say)
    measure = ON_A_CLUSTER.get(scenario)
    if measure is None:
        raise Refused(f"no scenario {scenario!r}; there are {', '.join(SCENARIOS)}")
    if options.connect and scenario in OWN_PROCESSES:
        raise Refused(f"{scenario} hurts nodes, so it runs on its own; leave out --connect")
    async with target_of(options) as target:
        return await measure(target, options, say)
