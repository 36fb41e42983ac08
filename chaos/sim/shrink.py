"""Makes a failing seed smaller: fewer faults, fewer nodes, less time, the same invariant broken.

Greedy: of the simpler runs, the first that still fails is the next to be made
simpler, until none does. What is left is often short enough to be read.
"""

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from chaos.sim.network import NetworkConfig
from chaos.sim.swarm import BrokerConfig, CallsConfig, SeedConfig
from raftlog.raft.config import CoreConfig

_LEAST_NS = 100_000_000
_NODES = (7, 5, 3)


def shrink(
    config: SeedConfig, fails: Callable[[SeedConfig], bool], say: Callable[[str], None]
) -> SeedConfig:
    """Return the simplest run found that still fails; ``config`` itself does.

    Args:
        config: Of a run that fails.
        fails: Runs one and says whether it fails in the same way.
        say: Is told each step that was kept.
    """
    while True:
        for what, simpler in simpler_ones(config):
            if fails(simpler):
                say(what)
                config = simpler
                break
        else:
            return config


def simpler_ones(config: SeedConfig) -> Iterator[tuple[str, SeedConfig]]:
    """Yield runs that are simpler in one way, each with what was left out; boldest first."""
    if config.fault_ns > _LEAST_NS:
        yield "half the time", replace(config, fault_ns=config.fault_ns // 2)
    for nodes in _NODES:
        if nodes < config.nodes:
            victims = min(config.victims, (nodes - 1) // 2)
            yield f"{nodes} nodes", replace(config, nodes=nodes, victims=victims)
    for fault in config.periods_ns:
        rest = {each: period for each, period in config.periods_ns.items() if each is not fault}
        yield f"no {fault.value}", replace(config, periods_ns=rest)
    if config.broker is not None:
        yield "no topic store", replace(config, broker=None)
        for what, broker in _simpler_brokers(config.broker):
            yield what, replace(config, broker=broker)
    plain = NetworkConfig()
    for name in ("loss", "duplication", "spike", "delay_mean_ns", "ordered"):
        if getattr(config.network, name) != getattr(plain, name):
            network = replace(config.network, **{name: getattr(plain, name)})
            yield f"plain {name}", replace(config, network=network)
    if config.core != CoreConfig():
        yield "usual limits", replace(config, core=CoreConfig())
    for name, value in (("drift_ppm", 0), ("heal_majority", False), ("reads_per_s", 0)):
        if getattr(config, name) != value:
            yield f"no {name}", replace(config, **{name: value})
    last = config.fault_ns * 9 // 10
    if last > _LEAST_NS:
        yield "a little less time", replace(config, fault_ns=last)


def _simpler_brokers(broker: BrokerConfig) -> Iterator[tuple[str, BrokerConfig]]:
    least: dict[str, object] = {
        "calls": CallsConfig(mean_ns=broker.calls.mean_ns),
        "groups": (),
        "members": 1,
        "readers": 0,
        "producers": 1,
        "plain_per_s": 0,
        "administration_per_s": 0,
        "crashes_per_s": 0,
        "commits_late": 0.0,
        "member_sleeps": 0.0,
        "member_leaves": 0.0,
        "retention_ms": 0,
        "retention_bytes": 0,
        "codec": "none",
        "in_flight_max": 1,
        "queues_max": 1,
        "leases": None,
        "halves": None,
        "letters": None,
        "quotas": None,
        "staged": None,
    }
    for name, value in least.items():
        if getattr(broker, name) != value:
            yield f"least {name}", replace(broker, **{name: value})
