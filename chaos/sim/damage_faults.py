"""Strikes at what disks hold: damage that a checksum or an error of a read shows.

It hits a minority of replicas, drawn once per seed (the fault atlas, ruling 16).
"""

from random import Random
from typing import Final

from chaos.sim.cluster import SHARD, Cluster
from chaos.sim.contents import SECTOR_BYTES
from chaos.sim.events import MS_NS
from chaos.sim.faults import Fault
from chaos.sim.process import Machine, Process
from chaos.sim.process_faults import POWER_CUTS
from chaos.sim.striker import Acts, Striker
from raftlog.base.ids import NodeId
from raftlog.base.limits import BLOCK_BYTES
from raftlog.storage.segment import SUFFIX

_ROTS: Final = (f"{SHARD}/log/", f"{SHARD}/index/", f"{SHARD}/snapshot/")
_BESIDE: Final = (f"{SHARD}/hard.state", f"{SHARD}/durable.mark")
_SECTORS_SHARE: Final = 0.3
"""Of the damage: it hides several entries at once, and where terms change."""


class DamageFaults(Striker):
    """Rot, lost sectors, errors of reads."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        super().__init__(cluster, random)
        self._hits: dict[tuple[NodeId, str], set[bool]] = {}
        """For each file: whether its header was hit, whether something else was."""

    def acts(self) -> Acts:
        """Return what strikes, by kind."""
        return {
            Fault.BIT_ROT: self._bit_rot,
            Fault.READ_ERROR: self._read_errors,
            Fault.LATENT_ERROR: self._latent_error,
            Fault.MISDIRECTED: self._misdirect,
            Fault.ROT_BESIDE: self._rot_beside,
            Fault.HEADER_LOST: self._lose_header,
        }

    def end(self) -> None:
        """Everything can be read again; what is damaged stays so."""
        for machine in self.cluster.machines.values():
            machine.disk.read_error = None

    def _victim(self) -> Machine | None:
        victims = [machine for machine in self.cluster.machines.values() if machine.victim]
        return self.random.choice(victims) if victims else None

    def _quiet_victim(self) -> Machine | None:
        """Draw a victim of which nothing is being written.

        Only while the durable mark is synced: rot of an entry that was acked in
        the last 20 ms before a power cut is two faults (ruling 2).
        """
        machine = self._victim()
        if machine is None or machine.process is None:
            return None
        replica = machine.process.replica
        return machine if replica.quiet and not replica.store.mark_dirty else None

    def _place(self, machine: Machine) -> tuple[str, int] | None:
        """Draw a byte of what is used of a log, of an index range or of a snapshot."""
        disk = machine.disk
        path = self.random.choice([path for path in disk.paths() if path.startswith(_ROTS)])
        used = len(disk.content(path).rstrip(b"\0"))
        if not used:
            return None
        offset = self.random.randrange(used)
        return (path, offset) if self._may_hit(machine, path, offset) else None

    def _may_hit(self, machine: Machine, path: str, offset: int) -> bool:
        """Whether a hit may be added to what was hit before.

        Where frames are moved by misdirected writes, damage to a header and to more of its file
        is left out: a frame that was moved back may leave less room than what was lost took.
        """
        if Fault.MISDIRECTED not in self.cluster.config.periods_ns:
            return True
        before = self._hits.setdefault((machine.node, path), set())
        before.add(path.endswith(SUFFIX) and offset < SECTOR_BYTES)
        return len(before) == 1

    def _lose_header(self) -> None:
        """Lose the header of a segment and an entry behind it, then the power under load.

        The mark was synced before, and is old by then: what was promised since is claimed by
        heads of units only, in segments with such damage.
        """
        machine = self._quiet_victim()
        if machine is None or machine.process is None:
            return
        disk = machine.disk
        segments = [path for path in disk.paths() if path.endswith(SUFFIX)]
        path = self.random.choice(segments[-2:] if self.random.random() < 0.7 else segments)
        used = len(disk.content(path).rstrip(b"\0"))
        if not used:
            return
        self.note("headers lost")
        for offset in (0, self.random.randrange(used))[: self.random.choice((1, 2, 2))]:
            match self.random.randrange(3):
                case 0:
                    disk.flip_bit(path, max(offset, min(20, used - 1)), self.random.randrange(8))
                case 1:
                    disk.zero(path, offset - offset % SECTOR_BYTES, SECTOR_BYTES)
                case _:
                    disk.lose_sectors(path, offset, 1)
        self._cut_under_load(machine, machine.process, self.random.randrange(1, 30), 300)

    def _cut_under_load(self, machine: Machine, process: Process, units: int, tries: int) -> None:
        """Cut the power when so many units more were written and the mark is not synced."""
        if machine.process is not process or not tries:
            return
        store = process.replica.store
        if store.mark_dirty and units <= 0:
            self.note("power cuts under load")
            self.cluster.end(machine, self.random.choice(POWER_CUTS))
            self.cluster.restart_later(machine)
            return
        number = store.unit_number

        def look_again() -> None:
            left = units - (store.unit_number - number)
            self._cut_under_load(machine, process, left, tries - 1)

        self.cluster.queue.after(10 * MS_NS, look_again)

    def _bit_rot(self) -> None:
        """Flip a bit, or lose some sectors: they read as zeros."""
        machine = self._quiet_victim()
        place = self._place(machine) if machine is not None else None
        if machine is None or place is None:
            return
        path, offset = place
        if self.random.random() < _SECTORS_SHARE:
            self.note("sectors lost")
            sectors = self.random.randint(1, 8)
            machine.disk.zero(path, offset - offset % SECTOR_BYTES, sectors * SECTOR_BYTES)
        else:
            self.note("bits rotten")
            machine.disk.flip_bit(path, offset, self.random.randrange(8))

    def _latent_error(self) -> None:
        """Let some sectors be unreadable from now on, in recovery too."""
        machine = self._quiet_victim()
        place = self._place(machine) if machine is not None else None
        if machine is None or place is None:
            return
        self.note("sectors unreadable")
        machine.disk.lose_sectors(*place, self.random.choice((1, 600, 4_000)))

    def _misdirect(self) -> None:
        """Put good sectors of one file where others belong, perhaps behind a log's end."""
        machine = self._quiet_victim()
        source = self._place(machine) if machine is not None else None
        target = self._place(machine) if source is not None and machine is not None else None
        if machine is None or source is None or target is None or source == target:
            return
        path, offset = (source[0], source[1] - source[1] % SECTOR_BYTES)
        length = self.random.randint(1, 8) * SECTOR_BYTES
        data = machine.disk.content(path)[offset : offset + length]
        at = target[1] - target[1] % SECTOR_BYTES + self.random.choice((0, 0, 2 * SECTOR_BYTES))
        self.note("writes misdirected")
        machine.disk.misplace(target[0], at, data)

    def _rot_beside(self) -> None:
        """Flip a bit of term and vote, or of the durable mark: there are two of each."""
        machine = self._quiet_victim()
        if machine is None:
            return
        disk = machine.disk
        path = self.random.choice(_BESIDE)
        block = self.random.randrange(2) * BLOCK_BYTES
        used = len(disk.content(path)[block : block + BLOCK_BYTES].rstrip(b"\0"))
        if not used:
            return
        self.note("rot beside the log")
        offset = block + self.random.randrange(used)
        if self.random.random() < _SECTORS_SHARE:
            disk.lose_sectors(path, offset, 1)
        else:
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
