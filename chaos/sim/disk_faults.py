"""Strikes at disks that stay whole: errors of writes and syncs, no room, slowness."""

import errno

from chaos.sim.events import MS_NS
from chaos.sim.faults import Fault
from chaos.sim.striker import Acts, Striker
from raftlog.base.space import DiskLevel


class DiskFaults(Striker):
    """Slow disks, full ones, and those that report errors."""

    def acts(self) -> Acts:
        """Return what strikes, by kind."""
        return {
            Fault.WRITE_ERROR: lambda: self._write_error(errno.EIO),
            Fault.NO_SPACE: self._no_space,
            Fault.SLOW_DISK: self._slow_disk,
        }

    def end(self) -> None:
        """Disks are fast again, and there is room."""
        for machine in self.cluster.machines.values():
            machine.disk.on_operation = None
            machine.pace.slow_until_ns = 0
            machine.space.level = DiskLevel.ROOM

    def _slow_disk(self) -> None:
        machine = self.some_machine()
        if machine is not None:
            self.note("slow disks")
            now_ns = self.cluster.queue.now_ns
            machine.pace.slow_until_ns = now_ns + self.random.randrange(100, 4_000) * MS_NS
            machine.pace.slow_factor = self.random.choice((10, 100, 1_000))

    def _write_error(self, number: int) -> None:
        machine = self.some_machine()
        if machine is None:
            return
        countdown = self.random.randrange(6)

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
        if self.random.random() < 0.3:
            self._write_error(errno.ENOSPC)
            return
        machine = self.some_machine()
        if machine is None:
            return
        self.note("full disks")
        disk, space = machine.disk, machine.space

        def on_operation(call: str, path: str) -> None:
            if call in ("fallocate", "create"):
                raise OSError(errno.ENOSPC, "simulated", path)

        def make_room() -> None:
            if disk.on_operation is on_operation:
                disk.on_operation = None
            space.level = DiskLevel.ROOM

        disk.on_operation = on_operation
        if self.random.random() < 0.7:  # else nobody has looked yet
            space.level = DiskLevel.FULL
        self.cluster.queue.after(self.random.randrange(100, 5_000) * MS_NS, make_room)
