"""Strikes at random moments with the kinds of faults that a seed has.

Each kind has its own period; moments are exponential. What a strike does is
the business of its concern: processes, links, disks, what disks hold, clocks, members.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from chaos.sim.clock_faults import ClockFaults
from chaos.sim.cluster import Cluster
from chaos.sim.damage_faults import DamageFaults
from chaos.sim.disk_faults import DiskFaults
from chaos.sim.events import stream
from chaos.sim.faults import Fault
from chaos.sim.network_faults import NetworkFaults
from chaos.sim.operator import Operator
from chaos.sim.process_faults import ProcessFaults

_CONCERNS: Final = (ProcessFaults, NetworkFaults, DiskFaults, DamageFaults, ClockFaults)


class Nemesis:
    """The faults of one run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._random: Random = stream(cluster.config.seed, "nemesis")
        self._over = False
        self._operator = Operator(cluster, self._random)
        self._strikers = [concern(cluster, self._random) for concern in _CONCERNS]
        self._acts: dict[Fault, Callable[[], None]] = {Fault.MEMBERS: self._operator.act}
        for striker in self._strikers:
            self._acts.update(striker.acts())

    def start(self) -> None:
        """Begin."""
        for fault, period_ns in self._cluster.config.periods_ns.items():
            self._later(fault, period_ns)

    @property
    def members_are_home(self) -> bool:
        """Whether every replica is a voter, as at the beginning."""
        return self._operator.is_home

    def end(self) -> None:
        """No more faults; what is armed is disarmed."""
        self._over = True
        self._operator.bring_home()
        for striker in self._strikers:
            striker.end()

    def _later(self, fault: Fault, period_ns: int) -> None:
        def strike() -> None:
            if not self._over:
                self._acts[fault]()
                self._later(fault, period_ns)

        self._cluster.queue.after(int(self._random.expovariate(1.0) * period_ns), strike)
