"""Strikes at random moments with the kinds of faults that a seed has.

Each kind has its own period; moments are exponential. Damage that only a
checksum shows hits a minority (the fault atlas, ruling 16): which replicas,
is drawn once per seed.
"""

import errno
from collections.abc import Callable
from random import Random
from typing import Final

from chaos.sim.cluster import SHARD, Cluster
from chaos.sim.disk import SECTOR_BYTES, CrashKind, Killed
from chaos.sim.events import MS_NS, stream
from chaos.sim.lost_majority import lose_majority
from chaos.sim.network import partition
from chaos.sim.operator import Operator
from chaos.sim.process import Machine
from chaos.sim.swarm import Fault
from raftlog.base.ids import NodeId
from raftlog.base.space import DiskLevel

_ROTS: Final = (f"{SHARD}/log/", f"{SHARD}/index/", f"{SHARD}/snapshot/")
_SECTORS_SHARE: Final = 0.3
"""Of the damage: it hides several entries at once, and where terms change."""
_POWER_CUTS: Final = (CrashKind.LOSE, CrashKind.SUBSET, CrashKind.TORN)


class Nemesis:
    """The faults of one run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._random: Random = stream(cluster.config.seed, "nemesis")
        self._over = False
        self._cut = 0
        self._operator = Operator(cluster, self._random)
        self._acts: dict[Fault, Callable[[], None]] = {
            Fault.POWER_CUT: self._power_cut,
            Fault.KILL: self._kill,
            Fault.TORN_PLAN: self._crash_in_write,
            Fault.CRASH_IN_RECOVERY: self._crash_in_recovery,
            Fault.ALL_DOWN: self._all_down,
            Fault.PAUSE: self._pause,
            Fault.PARTITION: self._partition,
            Fault.CLOG: self._clog,
            Fault.TRANSFER: self._transfer,
            Fault.FALSE_HINT: self._false_hint,
            Fault.WRITE_ERROR: lambda: self._write_error(errno.EIO),
            Fault.NO_SPACE: self._no_space,
            Fault.SLOW_DISK: self._slow_disk,
            Fault.BIT_ROT: self._bit_rot,
            Fault.READ_ERROR: self._read_errors,
            Fault.OUTAGE: self._outage,
            Fault.MEMBERS: self._operator.act,
            Fault.MAJORITY_LOST: self._majority_lost,
        }

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
        for machine in self._cluster.machines.values():
            machine.disk.on_operation = None
            machine.disk.read_error = None
            machine.pace.slow_until_ns = 0
            machine.space.level = DiskLevel.ROOM
            if machine.process is not None:
                machine.process.life.resumes_ns = 0

    def _later(self, fault: Fault, period_ns: int) -> None:
        def strike() -> None:
            if not self._over:
                self._acts[fault]()
                self._later(fault, period_ns)

        self._cluster.queue.after(int(self._random.expovariate(1.0) * period_ns), strike)

    def _some_machine(self) -> Machine | None:
        up = self._cluster.up()
        leading = [machine for machine in up if machine.process and machine.process.replica.leads]
        if leading and self._random.random() < 0.4:
            return self._random.choice(leading)
        return self._random.choice(up) if up else None

    def _note(self, what: str) -> None:
        self._cluster.marks[what] += 1

    # -- processes

    def _power_cut(self) -> None:
        machine = self._some_machine()
        if machine is not None:
            self._note("power cuts")
            self._cluster.end(machine, self._random.choice(_POWER_CUTS))
            self._cluster.restart_later(machine)

    def _outage(self) -> None:
        """Take one machine away for long, if all others run; a restart is due at its end."""
        cluster = self._cluster
        machine = self._some_machine()
        if machine is None or len(cluster.up()) < len(cluster.nodes):
            return
        self._note("outages")
        cluster.end(machine, self._random.choice(list(CrashKind)))
        machine.restart_due = True
        cluster.queue.after(
            self._random.randrange(4_000, 9_000) * MS_NS, lambda: cluster.restart(machine)
        )

    def _majority_lost(self) -> None:
        if lose_majority(self._cluster, self._random):
            self._operator.invite()

    def _kill(self) -> None:
        machine = self._some_machine()
        if machine is not None:
            self._note("kills")
            self._cluster.end(machine, CrashKind.KEEP)
            self._cluster.restart_later(machine)

    def _all_down(self) -> None:
        self._note("all down")
        for machine in self._cluster.up():
            self._cluster.end(machine, self._random.choice(_POWER_CUTS))
            self._cluster.restart_later(machine)

    def _crash_in_write(self) -> None:
        machine = self._some_machine()
        if machine is not None:
            _kill_after(machine, self._random.randrange(12))

    def _crash_in_recovery(self) -> None:
        machine = self._some_machine()
        if machine is None:
            return
        self._cluster.end(machine, self._random.choice(_POWER_CUTS))
        _kill_after(machine, self._random.randrange(4))
        self._cluster.restart_later(machine)

    def _pause(self) -> None:
        machine = self._some_machine()
        if machine is not None and machine.process is not None:
            self._note("pauses")
            until_ns = self._cluster.queue.now_ns + self._random.randrange(50, 3_000) * MS_NS
            machine.process.life.resumes_ns = until_ns

    # -- the network

    def _partition(self) -> None:
        nodes = list(self._cluster.nodes)
        if len(nodes) < 2:
            return
        kind, links = partition(nodes, self._random)
        self._note("partitions")
        self._note(f"partition: {kind}")
        self._cluster.network.block(links)
        self._cut += 1
        cut = self._cut

        def heal() -> None:
            if self._cut == cut:
                self._cluster.network.block(())

        self._cluster.queue.after(self._random.randrange(100, 3_000) * MS_NS, heal)

    def _clog(self) -> None:
        nodes: list[NodeId] = list(self._cluster.nodes)
        sender, to = self._random.choice(nodes), self._random.choice(nodes)
        if sender != to:
            self._note("clogs")
            until_ns = self._cluster.queue.now_ns + self._random.randrange(50, 2_000) * MS_NS
            self._cluster.network.clog((sender, to), until_ns)

    def _false_hint(self) -> None:
        machine = self._some_machine()
        if machine is not None and machine.process is not None:
            leader = machine.process.replica.leader
            if leader is not None:
                self._note("false hints")
                self._cluster.connection_lost(machine, leader)

    def _transfer(self) -> None:
        machine = self._some_machine()
        if machine is not None and machine.process is not None:
            target = self._random.choice([None, *self._cluster.nodes])
            replica = machine.process.replica
            machine.process.life.call_soon(lambda: replica.transfer(target))

    # -- disks

    def _slow_disk(self) -> None:
        machine = self._some_machine()
        if machine is not None:
            self._note("slow disks")
            now_ns = self._cluster.queue.now_ns
            machine.pace.slow_until_ns = now_ns + self._random.randrange(100, 4_000) * MS_NS
            machine.pace.slow_factor = self._random.choice((10, 100, 1_000))

    def _write_error(self, number: int) -> None:
        machine = self._some_machine()
        if machine is None:
            return
        countdown = self._random.randrange(6)

        def on_operation(call: str, path: str) -> None:
            nonlocal countdown
            countdown -= 1
            if countdown < 0 and (number == errno.EIO or call != "fdatasync"):
                machine.disk.on_operation = None
                raise OSError(number, "simulated", path)

        machine.disk.on_operation = on_operation

    def _no_space(self) -> None:
        """No space, for whatever comes next or for everything that needs more for a while.

        A full disk still takes what is written over what it has.
        """
        if self._random.random() < 0.3:
            self._write_error(errno.ENOSPC)
            return
        machine = self._some_machine()
        if machine is None:
            return
        self._note("full disks")
        disk, space = machine.disk, machine.space

        def on_operation(call: str, path: str) -> None:
            if call in ("fallocate", "create"):
                raise OSError(errno.ENOSPC, "simulated", path)

        def make_room() -> None:
            if disk.on_operation is on_operation:
                disk.on_operation = None
            space.level = DiskLevel.ROOM

        disk.on_operation = on_operation
        if self._random.random() < 0.7:  # else nobody has looked yet
            space.level = DiskLevel.FULL
        self._cluster.queue.after(self._random.randrange(100, 5_000) * MS_NS, make_room)

    def _victim(self) -> Machine | None:
        victims = [machine for machine in self._cluster.machines.values() if machine.victim]
        return self._random.choice(victims) if victims else None

    def _bit_rot(self) -> None:
        """Flip a bit of an old entry, an index range or a snapshot, or lose some sectors.

        Only while the durable mark is synced: rot of an entry that was acked in
        the last 20 ms before a power cut is two faults (ruling 2).
        """
        machine = self._victim()
        if machine is None or machine.process is None:
            return
        store = machine.process.replica.store
        if store.mark_dirty or not machine.process.replica.quiet:
            return
        disk = machine.disk
        path = self._random.choice([path for path in disk.paths() if path.startswith(_ROTS)])
        used = len(disk.content(path).rstrip(b"\0"))
        if not used:
            return
        offset = self._random.randrange(used)
        if self._random.random() < _SECTORS_SHARE:
            self._note("sectors lost")
            sectors = self._random.randint(1, 8)
            disk.zero(path, offset - offset % SECTOR_BYTES, sectors * SECTOR_BYTES)
        else:
            self._note("bits rotten")
            disk.flip_bit(path, offset, self._random.randrange(8))

    def _read_errors(self) -> None:
        """Reads of a live process fail for a while; recovery's reads do not."""
        machine = self._victim()
        if machine is None or machine.process is None:
            return
        life = machine.process.life
        until_ns = self._cluster.queue.now_ns + self._random.randrange(50, 1_000) * MS_NS

        def fails(_path: str, _offset: int, _length: int) -> bool:
            if life.ended or self._cluster.queue.now_ns >= until_ns:
                return False
            failed = self._random.random() < 0.3
            if failed:
                self._note("read errors")
            return failed

        machine.disk.read_error = fails


def _kill_after(machine: Machine, operations: int) -> None:
    countdown = operations

    def on_operation(_call: str, _path: str) -> None:
        nonlocal countdown
        countdown -= 1
        if countdown < 0:
            machine.disk.on_operation = None
            raise Killed

    machine.disk.on_operation = on_operation
