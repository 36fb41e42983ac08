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
from chaos.sim.lease_faults import LeaseFaults
from chaos.sim.lost_majority import lose_majority
from chaos.sim.lost_writes import LostWrites
from chaos.sim.network_faults import NetworkFaults
from chaos.sim.old_backups import OldBackups
from chaos.sim.operator import Operator
from chaos.sim.process_faults import POWER_CUTS, ProcessFaults
from chaos.sim.wiped_disks import dispensable, wipe_one
from chaos.sim.wish_faults import WishFaults

_CONCERNS: Final = (
    ProcessFaults,
    NetworkFaults,
    DiskFaults,
    DamageFaults,
    ClockFaults,
    LeaseFaults,
    WishFaults,
    OldBackups,
    LostWrites,
)


class Nemesis:
    """The faults of one run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._random: Random = stream(cluster.config.seed, "nemesis")
        self._over = False
        self._operator = Operator(cluster, self._random)
        cluster.on_renewed = self._operator.invite
        self._strikers = [concern(cluster, self._random) for concern in _CONCERNS]
        self._acts: dict[Fault, Callable[[], None]] = {
            Fault.MEMBERS: self._operator.act,
            Fault.WIPED: self._wipe,
            Fault.MAJORITY_LOST: self._lose_majority,
            Fault.REBOOT: self._reboot,
        }
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

    def _reboot(self) -> None:
        """Take back what one machine had not synced, if a majority has all without it.

        Also what it has acknowledged and nobody has committed yet: with that word, which may be
        on its way still, a leader would commit what is on too few disks.
        """
        cluster = self._cluster
        machine = self._random.choice(list(cluster.machines.values()))
        is_whole = len(cluster.up()) == len(cluster.nodes) and self._operator.is_home
        if is_whole and machine in dispensable(cluster):
            cluster.marks["reboots"] += 1
            cluster.end(machine, self._random.choice(POWER_CUTS))
            cluster.restart_later(machine)

    def _wipe(self) -> None:
        wipe_one(self._cluster, self._random)

    def _lose_majority(self) -> None:
        lose_majority(self._cluster, self._random)
