"""A majority is destroyed, one survivor is recovered by hand, and new directories join it.

The survivor is one that has everything committed, so nothing of it may be lost and every
invariant holds on (elsewhere loss is what was agreed to, and nothing is left to check). What
the others have beyond that goes. Other survivors run on meanwhile, and must follow.
"""

from itertools import repeat
from random import Random
from typing import Final

from chaos.sim.cluster import DATA, SHARD, Cluster
from chaos.sim.disk import CrashKind, Killed
from chaos.sim.process import Machine, Process
from raftlog.base.entry import EntryKind
from raftlog.base.errors import BadChange, Refused
from raftlog.base.ids import Index, NodeId, ReplicaId
from raftlog.base.limits import READ_SPAN_BYTES_MAX
from raftlog.server.unsafe_recovery import UnsafeRecovery
from raftlog.storage.log_store import LogStore

INTERRUPTED: Final = 0.3
"""How often the recovery itself is cut short, and done again."""
OPERATIONS: Final = 14
"""File operations of a recovery, about."""


def lose_majority(cluster: Cluster, random: Random) -> bool:
    """Do it, if some survivor can be recovered without loss; return whether it was done."""
    survivor = _survivor(cluster, random)
    if survivor is None or survivor.process is None:
        return False
    voters = survivor.process.replica.membership
    others = [each.node for each in voters.replicas if each.node != survivor.node]
    lost = random.sample(others, random.randint(len(others) // 2, len(others)))
    if not lost or any(map(_may_commit, _others(cluster, survivor), repeat(cluster))):
        return False
    # Stopped with its power, or not: what it has is on its disk.
    cluster.end(survivor, random.choice(list(CrashKind)))
    survivor.disk.on_operation = None  # it waited for a process
    try:
        with _opened(cluster, survivor, lost):
            pass
    except BadChange:  # who is left can still decide
        cluster.restart_later(survivor)
        return False
    for node in lost:
        _destroy(cluster, cluster.machines[node])
    _recover(cluster, survivor, lost, random)
    cluster.marks["majorities lost"] += 1
    cluster.marks["survivors left beside"] += len(others) - len(lost)
    cluster.restart_later(survivor)
    for node in lost:
        cluster.restart_later(cluster.machines[node])
    return True


def _survivor(cluster: Cluster, random: Random) -> Machine | None:
    """Return a machine whose disk has everything that is committed, if one has."""
    observer = cluster.observer
    end = observer.committed.end
    committed = observer.committed.log.at(end)
    found = [
        machine
        for machine in cluster.up()
        if machine.process is not None
        and machine.process.replica.quiet
        and observer.durable_log(machine.node).at(end) == committed
        and observer.has_recoveries(machine.node)
    ]
    return random.choice(found) if found else None


def _others(cluster: Cluster, survivor: Machine) -> list[Process]:
    """Return those of the other processes that lead, as far as they know."""
    return [
        machine.process
        for machine in cluster.up()
        if machine is not survivor and machine.process and machine.process.replica.leads
    ]


def _may_commit(leader: Process, cluster: Cluster) -> bool:
    """Whether a leader may commit one more entry with promises that are made already.

    It would rest on disks that are gone, and the survivor need not have it: a loss.
    """
    core = leader.replica.core
    following = Index(core.commit + 1)
    if following > core.log.last_index:
        return False
    term = core.log.term_at(following)

    def has_it(voter: ReplicaId) -> bool:
        mark = cluster.observer.durable_log(voter.node).at(following)
        return voter == core.replica or (mark is not None and mark.term == term)

    halves = (core.membership.voters, core.membership.outgoing)
    return any(2 * sum(map(has_it, half)) > len(half) for half in halves if half)


def _opened(cluster: Cluster, machine: Machine, lost: list[NodeId]) -> UnsafeRecovery:
    files = machine.disk.files()
    options, boot = cluster.store_options, f"boot {machine.boot}"
    return UnsafeRecovery.open(DATA, machine.node, lost, options=options, files=files, boot=boot)


def _destroy(cluster: Cluster, machine: Machine) -> None:
    cluster.end(machine, CrashKind.LOSE)
    cluster.renew(machine)


def _recover(cluster: Cluster, machine: Machine, lost: list[NodeId], random: Random) -> None:
    if random.random() < INTERRUPTED:
        machine.disk.kill_after(random.randrange(OPERATIONS))
        try:
            _carry_out(cluster, machine, lost)
        except Killed:
            cluster.marks["recoveries interrupted"] += 1
        machine.disk.on_operation = None
        machine.disk.crash(random, random.choice(list(CrashKind)))
    try:
        _carry_out(cluster, machine, lost)
    except Refused:
        cluster.marks["recoveries found done"] += 1
    _tell(cluster, machine)


def _carry_out(cluster: Cluster, machine: Machine, lost: list[NodeId]) -> None:
    with _opened(cluster, machine, lost) as work:
        work.carry_out(work.report.phrase, cluster.queue.now_ns // 1_000_000)


def _tell(cluster: Cluster, machine: Machine) -> None:
    """Tell the observer what is on that disk now, which no core has asked for."""
    store = LogStore.open(machine.disk.files(), SHARD, cluster.store_options)
    span = store.locate(store.end.index, store.end.index, READ_SPAN_BYTES_MAX)
    (entry,) = span.entries(span.read(wait=True) or b"")
    span.close()
    assert entry.kind is EntryKind.CONFIGURATION, f"recovered with {entry}"
    cluster.observer.forced(machine.node, store.hard_state, entry)
