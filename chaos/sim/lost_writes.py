"""Writes that a disk confirms, their sync too, and never makes; within the fault atlas.

The page cache has such a write until the power fails, or its page is dropped: only then does a
reader see what was there before. What that means depends on what else is on the disk::

    | 5 | 6 | ? | 8 |            the head of a later unit, or the mark, says that 7 was there:
                                 damage that shows, repaired from a peer
    | 5 | 6 |                    7 was the last one, and its mark is lost, too (or was never
                                 synced): the log ends earlier, and nothing shows
    hard.state, one copy of two  the other one is newer
    hard.state, both             a vote is forgotten, and nothing shows
    a cut, and what follows it   the tail of another branch is there again: older than the mark

What shows may hit the seed's victims, a minority, any time. What is taken back silently is
judged when it would be missed, at the power cut. It hits one replica, while everything that it
has is on a majority without it and no election is under way (as for old backups); a vote besides
only while its leader has a majority of the term's votes without it, and with all of the log that
is of this term. Otherwise all of it has landed after all. A replica that forgot something may be
found out by its peers, and comes back as new.
"""

import struct
from collections.abc import Callable
from random import Random
from typing import Final

from chaos.sim.cluster import SHARD, Cluster
from chaos.sim.contents import Operation
from chaos.sim.disk import CrashKind
from chaos.sim.events import MS_NS, stream
from chaos.sim.faults import Fault
from chaos.sim.process import Machine, Process
from chaos.sim.process_faults import POWER_CUTS
from chaos.sim.striker import Acts, Striker
from chaos.sim.wiped_disks import all_follow, dispensable, newest_leader
from raftlog.base.ids import Index, NodeId, ReplicaId
from raftlog.base.writes import HardState, Write
from raftlog.storage.log_store import LogStore
from raftlog.storage.unit import UNIT_MAGIC

_LOG: Final = f"{SHARD}/log/"
_MARK: Final = f"{SHARD}/durable.mark"
_HARD_STATE: Final = f"{SHARD}/hard.state"
_ONES: Final = (
    *(_LOG, _LOG, _LOG, _MARK, _HARD_STATE),
    *(f"{SHARD}/index/", f"{SHARD}/snapshot/", SHARD),
)
"""Of which files one write is lost; the log's more often than others'."""
_UNIT_NUMBER: Final = struct.Struct("<Q")
_SOME_SHARE: Final = 0.3
"""How many writes a disk loses that loses several."""
_TRIES: Final = 5
"""How often the moment is looked for at which what is lost may be taken back."""

Takes = Callable[[str, Operation], bool]


class _Disk:
    """What a disk has confirmed and never made, as far as nobody can have missed it."""

    def __init__(self, of: ReplicaId) -> None:
        self.of: Final = of
        self.takes: Takes | None = None
        """Which operations it loses now."""
        self.waits_until_ns = 0
        """Until then it goes on to wait for the rare moment that it was told of last."""
        self.unit: int | None = None
        """The newest lost unit of the log that nothing on the disk speaks of; as operation."""
        self.copies: set[int] = set()
        """The copies of hard.state that are older on the disk than was confirmed."""
        self.loses_cut = False
        """Whether the tail of another branch is there again that was cut off."""
        self.had: tuple[Index, HardState] | None = None
        """What was durable before the disk took some of it back; the next start forgets this."""
        self.is_damaged = False
        """Whether lost writes show that the next start may find."""

    @property
    def hides(self) -> bool:
        """Whether something would be gone, and nothing on the disk would tell."""
        return self.hides_log or self.hides_votes

    @property
    def hides_log(self) -> bool:
        """Whether that is the end of the log."""
        return self.unit is not None

    @property
    def hides_votes(self) -> bool:
        """Whether it is the newest term, or the vote."""
        return len(self.copies) == 2

    def confirms(self, path: str, operation: Operation, *, lost: bool) -> None:
        """Take in what it confirms, and whether it has made it."""
        _, at, _, when = operation
        if path == _HARD_STATE and lost:
            self.copies.add(at)
        elif path == _HARD_STATE:
            self.copies.discard(at)
        elif is_unit(path, operation) and lost:
            self.unit = when
        elif path == _MARK or is_unit(path, operation):
            # A later word of the log's end. A lost word is none.
            is_later = self.unit is not None and when > self.unit and not lost
            self.unit = None if is_later else self.unit

    def settled(self) -> None:
        """What was lost is missed from now on, or has landed."""
        self.unit = None
        self.copies.clear()
        self.loses_cut = False


def is_unit(path: str, operation: Operation) -> bool:
    """Whether it writes a unit to the log: a repaired head has number 0, and promises nothing."""
    kind, _, data, _ = operation
    if kind != "write" or not path.startswith(_LOG) or not data.startswith(UNIT_MAGIC):
        return False
    (number,) = _UNIT_NUMBER.unpack_from(data, len(UNIT_MAGIC))
    return bool(number)


class LostWrites(Striker):
    """Lets disks lose writes, one, several, or the last ones and the power behind them."""

    def __init__(self, cluster: Cluster, _: Random) -> None:
        super().__init__(cluster, stream(cluster.config.seed, "lost writes"))
        self.tell: Callable[[NodeId, str], None] = lambda *_: None
        """Told of what a disk does, for somebody who reads."""
        self._disks: dict[NodeId, _Disk] = {}
        self._kinds = (
            *(self._lose_one, self._lose_some, self._lose_tail, self._lose_tail),
            *(self._lose_term, self._lose_cut),
        )
        if Fault.LOST_WRITE not in cluster.config.periods_ns:
            return
        cluster.on_end = self._ends
        cluster.on_opened = self._opened
        for machine in cluster.machines.values():
            if machine.victim:
                self._watch(machine)

    def acts(self) -> Acts:
        """Return what strikes, by kind."""
        return {Fault.LOST_WRITE: self._strike}

    def end(self) -> None:
        """No more is lost; what was shows, or has landed."""
        for node in self._disks:
            machine = self.cluster.machines[node]
            disk = self._disk_of(machine)
            disk.takes = None
            self._settle(machine, lost=not disk.hides and not disk.loses_cut)

    # -- what is lost

    def _strike(self) -> None:
        victims = [machine for machine in self.cluster.up() if machine.victim]
        if not victims:
            return
        machine = self.random.choice(victims)
        disk = self._disk_of(machine)
        waits = disk.takes is not None and self.cluster.queue.now_ns < disk.waits_until_ns
        act = self.random.choice(self._kinds)
        if not waits:
            act(machine)

    def _lose_one(self, machine: Machine) -> None:
        disk, of = self._disk_of(machine), self.random.choice(_ONES)

        def takes(path: str, operation: Operation) -> bool:
            is_other = operation[0] != "write" or not path.startswith(of)
            if is_other or _would_hide_vote(disk, path, operation):
                return False
            disk.takes = None
            self._drop_cache_later(machine)
            return True

        disk.takes = takes
        disk.waits_until_ns = self._patience_ns() if of == _HARD_STATE else 0

    def _lose_some(self, machine: Machine) -> None:
        disk, until_ns = self._disk_of(machine), self.soon_ns(20, 500)

        def takes(path: str, operation: Operation) -> bool:
            if self.cluster.queue.now_ns >= until_ns:
                disk.takes = None
                return False
            lost = operation[0] == "write" and self.random.random() < _SOME_SHARE
            return lost and not _would_hide_vote(disk, path, operation)

        disk.takes = takes
        self._drop_cache_later(machine)

    def _lose_tail(self, machine: Machine) -> None:
        """Lose units of the log, all of it, or everything for a while, then the power."""
        lost = self.random.choice(((), (_LOG,), (SHARD,)))

        def takes(path: str, operation: Operation) -> bool:
            is_lost = path == _MARK or path.startswith(lost) or is_unit(path, operation)
            return operation[0] == "write" and is_lost

        self._disk_of(machine).takes = takes
        self._cut_power_later(machine, 10, 400)

    def _lose_term(self, machine: Machine) -> None:
        """Lose everything from the next term or vote on, then the power."""
        disk = self._disk_of(machine)

        def takes_all(_: str, operation: Operation) -> bool:
            return operation[0] == "write"

        def takes(path: str, _: Operation) -> bool:
            if path == _HARD_STATE:
                disk.takes = takes_all
                self._cut_power_later(machine, 50, 1_500)
                return True
            return False

        disk.takes, disk.waits_until_ns = takes, self._patience_ns()

    def _lose_cut(self, machine: Machine) -> None:
        """Lose the next cut of a segment, and perhaps what is written behind it for a while.

        The segment is as it was before, with the tail of another branch; the mark knows better.
        """
        disk = self._disk_of(machine)
        more_ns = self.random.choice((0, 10, 300)) * MS_NS

        def takes(path: str, operation: Operation) -> bool:
            if not _is_cut(machine, path, operation):
                return False
            until_ns = self.cluster.queue.now_ns + more_ns

            def takes_more(other: str, operation: Operation) -> bool:
                if self.cluster.queue.now_ns < until_ns:
                    return other == path and not _is_cut(machine, other, operation)
                disk.takes = None
                return False

            disk.takes = takes_more
            return True

        disk.takes, disk.waits_until_ns = takes, self._patience_ns()

    def _patience_ns(self) -> int:
        return self.soon_ns(1_000, 6_000)

    def _cut_power_later(self, machine: Machine, least_ms: int, most_ms: int) -> None:
        """Cut it while it loses, if what is lost may be taken back then, or soon."""
        disk, process = self._disk_of(machine), machine.process
        takes, tries = disk.takes, _TRIES

        def cut_power() -> None:
            nonlocal tries
            tries -= 1
            if disk.takes is not takes or machine.process is not process:
                return
            if disk.hides and self._may_take_back(machine, disk):
                self.cluster.end(machine, self.random.choice(POWER_CUTS))
                self.cluster.restart_later(machine)
            elif tries:
                self.cluster.queue.at(self.soon_ns(10, 100), cut_power)
            else:
                disk.takes = None

        self.cluster.queue.at(self.soon_ns(least_ms, most_ms), cut_power)

    def _drop_cache_later(self, machine: Machine) -> None:
        """Let what shows be read by the process that runs, some day."""
        if self.random.random() < 0.5:
            return

        def drop() -> None:
            disk = self._disk_of(machine)
            if machine.process is not None and not disk.hides and not disk.loses_cut:
                self._settle(machine, lost=True)

        self.cluster.queue.at(self.soon_ns(10, 2_000), drop)

    # -- what becomes of it

    def _watch(self, machine: Machine) -> None:
        self._disks[machine.node] = _Disk(machine.id)

        def loses(path: str, operation: Operation) -> bool:
            disk = self._disk_of(machine)
            takes = disk.takes if machine.process is not None else None
            lost = takes is not None and takes(path, operation)
            if lost:
                kind, at, data, _ = operation
                self.note("writes lost" if kind == "write" else "cuts lost")
                what = f"{len(data)} bytes" if kind == "write" else "a cut"
                self.tell(machine.node, f"its disk loses {what} at {at} of {path}")
                self.cluster.observer.begins_to_lose(machine.node)
            if lost and _is_cut(machine, path, operation):
                disk.loses_cut = True
            disk.confirms(path, operation, lost=lost)
            if not disk.hides:
                self.cluster.observer.loses_nothing(machine.node)
            return lost

        machine.disk.loses = loses

    def _disk_of(self, machine: Machine) -> _Disk:
        disk = self._disks[machine.node]
        if disk.of != machine.id:
            disk = self._disks[machine.node] = _Disk(machine.id)
        return disk

    def _settle(self, machine: Machine, *, lost: bool) -> None:
        disk = self._disk_of(machine)
        if machine.disk.has_lost:
            self.note("lost writes that showed" if lost else "lost writes that landed")
            self.tell(machine.node, "what its disk lost " + ("shows" if lost else "has landed"))
        machine.disk.settle(lost=lost)
        self.cluster.observer.loses_nothing(machine.node)
        disk.settled()

    def _ends(self, machine: Machine, kind: CrashKind) -> list[Write]:
        """Say what a crash takes back silently; what may not be has landed before it."""
        if machine.node not in self._disks:
            return []
        disk = self._disk_of(machine)
        disk.takes = None
        taken: list[Write] = []
        if kind is CrashKind.KEEP:
            if disk.hides:
                self._settle(machine, lost=False)
            return taken
        lost = self._may_show_cut(machine, disk)
        if lost and disk.hides:
            lost = self._may_take_back(machine, disk)
        if lost and disk.hides:
            taken = self._take_back(machine, disk)
        disk.is_damaged |= lost and machine.disk.has_lost
        self._settle(machine, lost=lost)
        return taken

    def _may_show_cut(self, machine: Machine, disk: _Disk) -> bool:
        """Whether no cut is lost, or the mark names the log's end: nothing is found behind a tail.

        As for all damage to a log: what was acknowledged in the last 20 ms is claimed by what
        lies behind it only (ruling 2).
        """
        if not disk.loses_cut:
            return True
        if machine.process is None:
            return False
        replica = machine.process.replica
        return replica.quiet and not replica.store.mark_dirty

    def _take_back(self, machine: Machine, disk: _Disk) -> list[Write]:
        observer = self.cluster.observer
        durable = observer.durable_state(machine.node)
        disk.had = Index(len(durable.log)), durable.hard_state
        machine.put_back_as = machine.id
        # What it said last came before its connections closed, or never.
        self.cluster.network.forget(machine.node)
        return observer.takes_back(machine.node, log=disk.hides_log, votes=disk.hides_votes)

    def _opened(self, machine: Machine, store: LogStore) -> None:
        if machine.node not in self._disks:
            return
        disk = self._disk_of(machine)
        if disk.had is not None:
            end, state = disk.had
            if store.end.index < end:
                self.note("logs that ended earlier")
            if store.hard_state != state:
                self.note("votes taken back")
        if disk.is_damaged and store.faulty_count:
            self.note("lost writes found")
        disk.had, disk.is_damaged = None, False

    def _may_take_back(self, machine: Machine, disk: _Disk) -> bool:
        """Whether nobody needs what it has now, and no vote of it can be given twice."""
        cluster = self.cluster
        leader = newest_leader(cluster)
        if leader is None or machine.process is None or machine not in dispensable(cluster):
            return False
        if not all_follow(cluster, leader):
            return False
        return not disk.hides_votes or self._is_spare(machine, leader)

    def _is_spare(self, machine: Machine, leader: Process) -> bool:
        """Whether ``leader`` has a majority of its term's votes without this one's.

        Who forgets its vote may then stand in that very term, and nobody can win in it. The
        leader itself could, with the votes that it has already, and propose otherwise.
        """
        name, core = leader.replica.id.node, leader.replica.core
        voters = core.membership.voters
        votes = [
            self.cluster.observer.durable_state(voter.node).votes.get(core.term)
            for voter in voters
            if voter.node != machine.node
        ]
        return machine.node != name and 2 * votes.count(name) > len(voters)


def _is_cut(machine: Machine, path: str, operation: Operation) -> bool:
    """Whether it cuts a segment's tail off; the segment was made whole again since."""
    kind, size, _, _ = operation
    is_segment = kind == "size" and path.startswith(_LOG) and machine.disk.files().exists(path)
    return is_segment and 0 < size < len(machine.disk.content(path))


def _would_hide_vote(disk: _Disk, path: str, operation: Operation) -> bool:
    return path == _HARD_STATE and bool(disk.copies - {operation[1]})
