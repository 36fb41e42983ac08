"""Strikes at processes: they die, with or without the power, anywhere; they stand still."""

from random import Random
from typing import Final

from chaos.sim.cluster import SHARD, Cluster
from chaos.sim.disk import CrashKind
from chaos.sim.events import MS_NS
from chaos.sim.faults import Fault
from chaos.sim.process import Machine
from chaos.sim.stopping import Stopping
from chaos.sim.striker import Acts, Striker
from raftlog.base.ids import NodeId
from raftlog.storage.segment import SUFFIX

_AFTER_STOP: Final = (CrashKind.KEEP, CrashKind.LOSE)
_LOG: Final = f"{SHARD}/log/"
POWER_CUTS: Final = (CrashKind.LOSE, CrashKind.SUBSET, CrashKind.TORN)


class ProcessFaults(Striker):
    """Power cuts, kills, pauses."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        super().__init__(cluster, random)
        self._is_over = False

    def acts(self) -> Acts:
        """Return what strikes, by kind."""
        return {
            Fault.POWER_CUT: self._power_cut,
            Fault.KILL: self._kill,
            Fault.TORN_PLAN: self._crash_in_write,
            Fault.CRASH_IN_RECOVERY: self._crash_in_recovery,
            Fault.ALL_DOWN: self._all_down,
            Fault.PAUSE: self._pause,
            Fault.OUTAGE: self._outage,
            Fault.RESTART: self._restart,
            Fault.ROLLING_RESTART: self._rolling_restart,
            Fault.SLOW_PROCESSOR: self._slow_processor,
        }

    def end(self) -> None:
        """Nobody dies inside a write any more; who stands still goes on when his time has come.

        A rolling restart that is under way ends with the node that it has come to.
        """
        self._is_over = True
        for machine in self.cluster.machines.values():
            machine.disk.on_operation = None
            if machine.process is not None:
                machine.process.life.slow(0)

    def _power_cut(self) -> None:
        machine = self.some_machine()
        if machine is not None:
            self.note("power cuts")
            self.cluster.end(machine, self.random.choice(POWER_CUTS))
            self.cluster.restart_later(machine)

    def _outage(self) -> None:
        """Take one machine away for long, if all others run; a restart is due at its end."""
        cluster = self.cluster
        machine = self.some_machine()
        if machine is None or len(cluster.up()) < len(cluster.nodes):
            return
        self.note("outages")
        cluster.end(machine, self.random.choice(list(CrashKind)))
        machine.restart_due = True
        cluster.observer.on_reset = self._reset
        cluster.queue.after(
            self.random.randrange(4_000, 9_000) * MS_NS, lambda: cluster.restart(machine)
        )

    def _reset(self, node: NodeId) -> None:
        """A log begins anew behind a snapshot: sometimes the node dies in the middle of that."""
        if self.random.random() < 0.5 and self.cluster.queue.now_ns < self.cluster.config.fault_ns:
            _kill_in_removal(self.cluster.machines[node], self.random.randrange(5))

    def _kill(self) -> None:
        machine = self.some_machine()
        if machine is not None:
            self.note("kills")
            self.cluster.end(machine, CrashKind.KEEP)
            self.cluster.restart_later(machine)

    def _all_down(self) -> None:
        self.note("all down")
        for machine in self.cluster.up():
            self.cluster.end(machine, self.random.choice(POWER_CUTS))
            self.cluster.restart_later(machine)

    def _crash_in_write(self) -> None:
        machine = self.some_machine()
        if machine is not None:
            machine.disk.kill_after(self.random.randrange(12))

    def _crash_in_recovery(self) -> None:
        machine = self.some_machine()
        if machine is None:
            return
        self.cluster.end(machine, self.random.choice(POWER_CUTS))
        machine.disk.kill_after(self.random.randrange(4))
        self.cluster.restart_later(machine)

    def _pause(self) -> None:
        machine = self.some_machine()
        if machine is not None and machine.process is not None:
            self.note("pauses")
            until_ns = self.cluster.queue.now_ns + self.random.randrange(50, 3_000) * MS_NS
            machine.process.life.pause(until_ns)

    def _slow_processor(self) -> None:
        """Let every turn take long for a while: heartbeats are late, and nothing is lost."""
        machine = self.some_machine()
        if machine is None or machine.process is None:
            return
        self.note("slow processors")
        life = machine.process.life
        life.slow(self.random.choice((MS_NS // 5, MS_NS, 5 * MS_NS)))
        self.cluster.queue.at(self.soon_ns(100, 3_000), lambda: life.slow(0))

    def _restart(self) -> None:
        """Stop one node as SIGTERM does; sometimes the power fails right afterwards."""
        machine = self.some_machine()
        if machine is not None:
            Stopping(self.cluster, machine, self.random.choice(_AFTER_STOP)).begin()

    def _rolling_restart(self) -> None:
        """Stop and start one node after the other, some time apart."""
        self.note("rolling restarts")
        machines = self.cluster.up()

        def go_on() -> None:
            if self._is_over:
                return
            machine = machines.pop()
            if machine.process is not None:
                Stopping(self.cluster, machine, CrashKind.KEEP).begin()
            if machines:
                self.cluster.queue.at(self.soon_ns(300, 1_500), go_on)

        if machines:
            go_on()


def _kill_in_removal(machine: Machine, operations: int) -> None:
    """Kill it when the first segment of its log goes, or soon after."""

    def on_operation(call: str, path: str) -> None:
        if call == "unlink" and path.startswith(_LOG) and path.endswith(SUFFIX):
            machine.disk.kill_after(operations)

    machine.disk.on_operation = on_operation
