"""Strikes at what disks hold: damage that a checksum or an error of a read shows.

It hits a minority of replicas, drawn once per seed (the fault atlas, ruling 16).
"""

from typing import Final

from chaos.sim.cluster import SHARD
from chaos.sim.disk import SECTOR_BYTES
from chaos.sim.events import MS_NS
from chaos.sim.faults import Fault
from chaos.sim.process import Machine
from chaos.sim.striker import Acts, Striker

_ROTS: Final = (f"{SHARD}/log/", f"{SHARD}/index/", f"{SHARD}/snapshot/")
_SECTORS_SHARE: Final = 0.3
"""Of the damage: it hides several entries at once, and where terms change."""


class DamageFaults(Striker):
    """Rot, lost sectors, errors of reads."""

    def acts(self) -> Acts:
        """Return what strikes, by kind."""
        return {Fault.BIT_ROT: self._bit_rot, Fault.READ_ERROR: self._read_errors}

    def end(self) -> None:
        """Everything can be read again; what is damaged stays so."""
        for machine in self.cluster.machines.values():
            machine.disk.read_error = None

    def _victim(self) -> Machine | None:
        victims = [machine for machine in self.cluster.machines.values() if machine.victim]
        return self.random.choice(victims) if victims else None

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
        path = self.random.choice([path for path in disk.paths() if path.startswith(_ROTS)])
        used = len(disk.content(path).rstrip(b"\0"))
        if not used:
            return
        offset = self.random.randrange(used)
        if self.random.random() < _SECTORS_SHARE:
            self.note("sectors lost")
            sectors = self.random.randint(1, 8)
            disk.zero(path, offset - offset % SECTOR_BYTES, sectors * SECTOR_BYTES)
        else:
            self.note("bits rotten")
            disk.flip_bit(path, offset, self.random.randrange(8))

    def _read_errors(self) -> None:
        """Reads of a live process fail for a while; recovery's reads do not."""
        machine = self._victim()
        if machine is None or machine.process is None:
            return
        life = machine.process.life
        until_ns = self.cluster.queue.now_ns + self.random.randrange(50, 1_000) * MS_NS

        def fails(_path: str, _offset: int, _length: int) -> bool:
            if life.ended or self.cluster.queue.now_ns >= until_ns:
                return False
            failed = self.random.random() < 0.3
            if failed:
                self.note("read errors")
            return failed

        machine.disk.read_error = fails
