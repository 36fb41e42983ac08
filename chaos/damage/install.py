"""A cluster with a trimmed log: damage in it, and crashes of who has to be sent a snapshot.

What a trimmed log led to cannot be replayed: tables and ranges are all that there
is of it. So every byte of the victim's files is damaged here, too.

And n3 was cut off for so long that the others have trimmed the log behind it. It comes
back, fetches tables, ranges and log, and its machine ends before each operation on
its disk in turn, with every kind of power cut; then it starts again. In the end it
must have all that the others have, or fetch it anew, never parts of two logs.
"""

import pickle
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from chaos.check.violation import Violation
from chaos.crash.states import kept
from chaos.damage.base import (
    BROKER,
    CONFIG,
    QUEUE,
    STEP_NS,
    VICTIM,
    Base,
    DamagedCluster,
    Owner,
    leading,
    run_until_converged,
)
from chaos.damage.harm import Harm, every_harm
from chaos.damage.sweep import Case, damage_one
from chaos.sim.cluster import SHARD, Cluster
from chaos.sim.disk import CrashKind, Killed
from chaos.sim.events import SECOND_NS
from chaos.sim.final_look import look_at_brokers
from chaos.sim.limits import small_limits
from chaos.sim.network import both_ways
from chaos.sim.process import Machine
from chaos.sim.run import _scan
from raftlog.base.ids import NodeId, Offset
from raftlog.base.writes import Write
from raftlog.broker.codec import CommandValue, write_command
from raftlog.broker.topics import CreateTopic, MoveStart, TopicChanges
from raftlog.broker.trims import Trim
from raftlog.storage.log_store import LogStore, StoreOptions

BEHIND: Final = NodeId("n3")
OTHERS: Final = (NodeId("n1"), NodeId("n2"))
INSTALLED: Final = "caught up"


class _InstallCluster(DamagedCluster):
    """Ends the process of n3 before its ``at``-th operation, by ``kind``."""

    def __init__(self, base: Base, at: int, kind: CrashKind) -> None:
        super().__init__(base)
        self.left = at
        self._kind = kind
        self.was_killed = False
        self.machines[BEHIND].disk.on_operation = self._count

    def _count(self, _call: str, _path: str) -> None:
        self.left -= 1
        if self.left < 0:
            self.machines[BEHIND].disk.on_operation = None
            self.was_killed = True
            raise Killed

    def start(self, machine: Machine, in_flight: Sequence[Write] = ()) -> None:
        """Start a process, which may end before it has opened its directory."""
        try:
            super().start(machine, in_flight)
        except Killed:
            self._power_off(machine, in_flight)

    def _power_off(self, machine: Machine, in_flight: Sequence[Write]) -> None:
        machine.in_flight = list(in_flight)
        machine.disk.crash(self.disk_random, self._kind)
        self.restart_later(machine)

    def end(self, machine: Machine, kind: CrashKind, in_flight: Sequence[Write] = ()) -> None:
        """End the process."""
        super().end(machine, self._kind if machine.node == BEHIND else kind, in_flight)


def trimmed(*, cut_off: bool) -> Base:
    """Return a cluster that has trimmed its log; ``cut_off``: n3 was not there, and is behind."""
    with small_limits(BROKER):
        cluster = Cluster(CONFIG)
        for machine in cluster.machines.values():
            cluster.start(machine)
        run_until_converged(cluster, "a new cluster")
        owner = Owner(cluster, "v")
        _propose(cluster, CreateTopic("orders", TopicChanges(queues=1)))
        owner.send_acked(2)
        if cut_off:
            cluster.network.block(both_ways([BEHIND], OTHERS))
        owner.send_acked(7)
        for _ in range(3):
            _trim(cluster)
            owner.send_acked(4)
        cluster.queue.run_until(cluster.queue.now_ns + SECOND_NS // 2)
        for machine in cluster.machines.values():
            cluster.end(machine, CrashKind.KEEP)
            machine.disk.cut_power(lambda _: kept)
    disks = {node: machine.disk.fork() for node, machine in cluster.machines.items()}
    options = StoreOptions(segment_bytes=CONFIG.segment_bytes)
    stores = {n: LogStore.open(d.fork().files(), SHARD, options) for n, d in disks.items()}
    assert all(stores[node].start.index for node in OTHERS), "nothing was trimmed"
    if cut_off:
        start = min(stores[node].start.index for node in OTHERS)
        assert stores[BEHIND].end.index < start, f"n3 ends at {stores[BEHIND].end.index}"
    return Base(disks, pickle.dumps(cluster.observer))


def _propose(cluster: Cluster, command: CommandValue) -> None:
    replica = leading(cluster)
    assert replica is not None, "nobody leads"
    raw = write_command(command)
    replica.propose(raw.type, raw.parts, lambda *_: None)
    cluster.queue.run_until(cluster.queue.now_ns + 5 * STEP_NS)


def _trim(cluster: Cluster) -> None:
    """Let the queue begin at its end, and the log where nothing is needed."""
    replica = leading(cluster)
    assert replica is not None, "nobody leads"
    machine = replica.machine
    end = machine.queues.find(QUEUE).end_offset  # type: ignore[attr-defined]
    _propose(cluster, MoveStart(QUEUE, Offset(end - 1)))
    _propose(cluster, Trim(machine.free_through()[0]))  # type: ignore[attr-defined]


def install_cases() -> Iterator[Case]:
    """Yield a case for every operation, and every kind of crash."""
    base = trimmed(cut_off=True)
    operations = _operations(base)
    for at in range(operations):
        for kind in CrashKind:
            run = partial(crash_install, base=base, at=at, kind=kind)
            yield Case(f"install, {kind.value}", f"install {at} {kind.value}", run)


def trimmed_cases() -> Iterator[Case]:
    """Yield a case for every byte that says something, where the log was trimmed."""
    base = trimmed(cut_off=False)
    for harm, is_used in every_harm(base.disks[VICTIM]):
        if is_used:
            run = partial(_damage_trimmed, base=base, harm=harm)
            yield Case(f"{harm.way} {harm.kind}, trimmed", f"trimmed {harm}", run)


def _damage_trimmed(_: Base, *, base: Base, harm: Harm) -> str:
    return damage_one(base, harm)


def _operations(base: Base) -> int:
    with small_limits(BROKER):
        cluster = _InstallCluster(base, 1 << 30, CrashKind.KEEP)
        _run(cluster)
    return (1 << 30) - cluster.left


def crash_install(_: Base, *, base: Base, at: int, kind: CrashKind) -> str:
    """Let n3 come back; end it before operation ``at``; let it come back again."""
    with small_limits(BROKER):
        cluster = _InstallCluster(base, at, kind)
        _run(cluster)
        if not cluster.was_killed:
            raise Violation("recovery", f"there is no operation {at}")
        look_at_brokers(cluster)
        cluster.observer.finish()
        for machine in cluster.machines.values():
            cluster.end(machine, CrashKind.LOSE)
            _scan(cluster, machine)
    return INSTALLED


def _run(cluster: _InstallCluster) -> None:
    for machine in cluster.machines.values():
        cluster.start(machine)
    Owner(cluster, "after").send_acked(2)
    deadline_ns = cluster.queue.now_ns + 20 * SECOND_NS
    while len(cluster.up()) < len(cluster.machines):
        if cluster.queue.now_ns >= deadline_ns:
            raise Violation("liveness", "n3 does not come back")
        cluster.queue.run_until(cluster.queue.now_ns + STEP_NS)
    run_until_converged(cluster, "after the install")
