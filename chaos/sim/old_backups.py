"""An old copy of a directory is put back under its node, within the fault atlas.

It silently takes back what was durable, and what was voted. So (ruling 16) it hits one replica,
and only while everything that this replica has, acknowledged or not, is on a majority *without*
it; and while all nodes run and follow one leader in its term, and have that on disk: then nobody
can win an older term, or this one, with a vote that is given twice. A copy of the time when its
node was the only voter is not put back: it asks nobody, and no protocol could tell.

Whoever remembers more of its promises turns the node away, and it stops; it comes back as a new
one. If nobody remembers, because all have started since or it had promised nothing since, it
goes on with what it has, and must do no harm.
"""

from random import Random
from typing import Final

from chaos.check.promises_durable import DurableState
from chaos.check.violation import Violation
from chaos.sim.cluster import SHARD, Cluster
from chaos.sim.disk import CrashKind, SimDisk
from chaos.sim.faults import Fault
from chaos.sim.process import Machine
from chaos.sim.striker import Acts, Striker
from chaos.sim.wiped_disks import all_follow, dispensable, newest_leader
from raftlog.base.ids import ReplicaId
from raftlog.base.membership import decode_membership
from raftlog.storage.configurations import read_rows

NEWER_SHARE: Final = 0.2
"""How often another copy is made although there is one."""


class Backup:
    """What of a replica was on its disk at some time."""

    def __init__(self, machine: Machine, durable: DurableState) -> None:
        self.of: Final[ReplicaId] = machine.id
        self.durable: Final = durable.copy()
        self.disk: Final[SimDisk] = machine.disk.fork()
        self.disk.crash(Random(0), CrashKind.LOSE)
        rows = read_rows(self.disk.files(), SHARD)
        named = [decode_membership(row.body) for row in rows] or [machine.formed]
        self.is_alone: Final = any(len(members.voters) == 1 for members in named)
        """Whether it would lead without asking anybody who remembers."""


class OldBackups(Striker):
    """Makes copies and puts them back; who is found out comes back as a new node."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        super().__init__(cluster, random)
        self._backup: Backup | None = None
        cluster.on_rolled_back = self._found_out

    def acts(self) -> Acts:
        """Return what strikes, by kind."""
        return {Fault.OLD_BACKUP: self._strike}

    def _strike(self) -> None:
        backup = self._backup
        if backup is None or self.random.random() < NEWER_SHARE:
            self._make()
        elif (machine := self._may_be_put_back(backup)) is not None:
            self._backup = None
            self.note("old backups put back")
            self.cluster.end(machine, self.random.choice(list(CrashKind)))
            machine.put_back_as = machine.id
            self.cluster.put_back(machine, backup.disk, backup.durable)
            self.cluster.restart_later(machine)

    def _make(self) -> None:
        machine = self.some_machine()
        if machine is not None and not machine.failed_plan:
            self._backup = Backup(machine, self.cluster.observer.durable_state(machine.node))

    def _may_be_put_back(self, backup: Backup) -> Machine | None:
        """Return the machine, if nobody needs what it has now, and no election is under way."""
        cluster = self.cluster
        machine = cluster.machines[backup.of.node]
        leader = newest_leader(cluster)
        if leader is None or machine.id != backup.of or machine not in dispensable(cluster):
            return None
        if backup.is_alone:
            return None
        return machine if all_follow(cluster, leader) else None

    def _found_out(self, machine: Machine) -> None:
        """A peer has turned a process away: it ends, and its node is formatted anew."""
        if machine.put_back_as != machine.id:
            raise Violation("recovery", f"{machine.node} is turned away, though it forgot nothing")
        loses_writes = Fault.LOST_WRITE in self.cluster.config.periods_ns
        self.note("lost writes found out" if loses_writes else "old backups found out")
        self.cluster.end(machine, CrashKind.KEEP)
        self.cluster.renew(machine)
        self.cluster.restart_later(machine)
