"""Every byte of one replica's files, damaged; and every entry, damaged on all replicas at once.

How a case of one damaged replica may end::

    unharmed            nothing was lost: another copy, or derived and made again
    repaired            fetched from a peer
    refused to start    both copies are bad, and the node says so

With each replica damaged at another entry, they heal each other and go on. With all
replicas damaged at one entry nobody can repair it. Then the cluster either
goes on beside it, where nobody needs the entry, or stops; what it serves is right.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from chaos.check.violation import Violation
from chaos.damage.base import (
    BROKER,
    CONFIG,
    OTHERS,
    QUEUE,
    STEP_NS,
    VICTIM,
    Base,
    DamagedCluster,
    Owner,
    run_until_converged,
)
from chaos.damage.harm import FLIP, Harm, every_harm, harmful
from chaos.sim.cluster import SHARD
from chaos.sim.disk import CrashKind, SimDisk
from chaos.sim.final_look import look_at_brokers, read_queue
from chaos.sim.limits import small_limits
from chaos.sim.process import Machine
from chaos.sim.run import _scan
from chaos.sim.states import BrokerState
from raftlog.base.entry import HEADER_BYTES, Entry
from raftlog.base.errors import DamagedLog, FaultyEntry
from raftlog.base.ids import Index
from raftlog.service.shard import BrokerShard
from raftlog.storage.log_store import LogStore, StoreOptions
from raftlog.storage.segment import INDEX_SUFFIX

PADDING_STRIDE: Final = 64
"""One byte of padding in so many is a case for the whole cluster."""
EVERYWHERE_NS: Final = 100 * STEP_NS
"""So long a cluster with damage everywhere is watched."""
EVERYWHERE_READ_NS: Final = 20 * STEP_NS
"""And so long is asked again for what it does not serve."""

UNHARMED: Final = "unharmed"
REPAIRED: Final = "repaired"
REFUSED: Final = "refused to start"
SERVED: Final = "went on"
STOPPED: Final = "stopped safely"
_OPTIONS: Final = StoreOptions(segment_bytes=CONFIG.segment_bytes)


class Case(NamedTuple):
    """One case: its name, its group in the table, and how to run it; running says how it ended."""

    group: str
    name: str
    run: Callable[[Base], str]


def cases(base: Base) -> Iterator[Case]:
    """Yield every case of damage to one replica."""
    for number, (harm, is_used) in enumerate(every_harm(base.disks[VICTIM])):
        if is_used or number // 2 % PADDING_STRIDE == 0:
            group, run = f"{harm.way} {harm.kind}", damage_one
        else:
            group, run = f"{harm.way} padding", damage_padding
        yield Case(group, str(harm), partial(run, harm=harm))
    yield from cases_everywhere(base)
    yield from cases_each(base)


def damage_one(base: Base, harm: Harm) -> str:
    """Damage the victim's disk, start all, and demand everything."""
    with small_limits(BROKER):
        cluster = DamagedCluster(base)
        victim = cluster.machines[VICTIM]
        victim.victim = True
        harm.do(victim.disk)
        for machine in cluster.machines.values():
            cluster.start(machine)
        ended = _demand_all(cluster)
    if ended is not None:
        return ended
    return REPAIRED if cluster.marks["repairs"] else UNHARMED


def _demand_all(cluster: DamagedCluster) -> str | None:
    """Demand that a majority works and all that runs is right; return how the victim ended."""
    run_until_converged(cluster, "after the damage")
    Owner(cluster, "after").send_acked()
    run_until_converged(cluster, "after a write")
    look_at_brokers(cluster)
    run_until_converged(cluster, "after everything was read")
    cluster.observer.finish()
    for node in OTHERS:
        if cluster.machines[node].process is None:
            raise Violation("recovery", f"{node} is not damaged and does not run")
    return _look_at_disks(cluster)


def _look_at_disks(cluster: DamagedCluster) -> str | None:
    for machine in cluster.machines.values():
        if machine.process is None:
            continue
        repaired = machine.process.replica.upkeep.repairer.repaired
        cluster.end(machine, CrashKind.LOSE)
        _scan(cluster, machine)
        if machine.node == VICTIM:
            _demand_whole(machine, cluster)
        elif repaired:
            raise Violation("recovery", f"{machine.node} repairs what was never damaged")
    if cluster.machines[VICTIM].stays_down:
        why = cluster.why_down.get(VICTIM, "")
        if not why:
            raise Violation("recovery", "the damaged node stopped without a word")
        return REFUSED
    return None


def _demand_whole(machine: Machine, cluster: DamagedCluster) -> None:
    """No entry is damaged still: what nobody read, the scrubber has found.

    Raises:
        Violation: One is.
    """
    store = LogStore.open(machine.disk.files(), SHARD, cluster.store_options)
    index = store.first_index
    while index <= store.end.index:
        try:
            span = store.locate(index, index, 1)
            entries = span.entries(span.read(wait=True) or b"")
            span.close()
        except FaultyEntry:
            entries = ()
        if not entries:
            raise Violation("recovery", f"entry {index} of {machine.node} is damaged still")
        index = Index(index + 1)


def damage_padding(base: Base, harm: Harm) -> str:
    """Damage a byte that says nothing: recovery finds what it would have found without it."""
    with small_limits(BROKER):
        clean = _recovered(base.disks[VICTIM].fork())
        disk = base.disks[VICTIM].fork()
        harm.do(disk)
        try:
            found = _recovered(disk)
        except DamagedLog as error:
            raise Violation("recovery", f"padding stops a node: {error}") from error
    if found != clean:
        other = [one for one, there in zip(found, clean, strict=True) if one != there]
        raise Violation("recovery", f"padding changes what is recovered: {other[0]!r}")
    return UNHARMED


def _recovered(disk: SimDisk) -> tuple[object, ...]:
    files = disk.files()
    cluster_options = _OPTIONS
    store = LogStore.open(files, SHARD, cluster_options)
    machine = BrokerShard.restore(files, SHARD, store.start.index, store.durable_end.index).machine
    entries: list[bytes] = []
    index = store.first_index
    while index <= store.end.index:
        span = store.locate(index, store.end.index, 1 << 20)
        read = span.entries(span.read(wait=True) or b"")
        span.close()
        entries.extend(bytes(entry.frame) for entry in read)
        index = Index(read[-1].index + 1)
    return (
        *(store.hard_state, store.end, store.commit_hint, tuple(store.term_runs)),
        *(store.faulty_count, machine.applied, machine.digest(), tuple(entries)),
    )


# -- all replicas


def cases_everywhere(base: Base) -> Iterator[Case]:
    """Yield cases in which all replicas are damaged at the same entry."""
    for entry in _entries(base):
        body = HEADER_BYTES if entry.size > HEADER_BYTES else 8
        for what, at in (("header", 20), ("body", body), ("magic", 0)):
            name = f"everywhere {entry.index} {at}"
            run = partial(damage_everywhere, frame=bytes(entry.frame), at=at)
            yield Case(f"all replicas, {what}", name, partial(run, places=True))
            yield Case(
                f"all replicas, {what}, no places", f"{name} scanned", partial(run, places=False)
            )


def _entries(base: Base) -> list[Entry]:
    store = LogStore.open(base.disks[VICTIM].fork().files(), SHARD, _OPTIONS)
    found: list[Entry] = []
    index = store.first_index
    while index <= store.end.index:
        span = store.locate(index, store.end.index, 1 << 20)
        found.extend(span.entries(span.read(wait=True) or b""))
        span.close()
        index = Index(found[-1].index + 1)
    return found


def damage_everywhere(base: Base, frame: bytes, at: int, *, places: bool) -> str:
    """Damage one entry on all replicas; watch that nothing wrong is served."""
    with small_limits(BROKER):
        cluster = DamagedCluster(base)
        for machine in cluster.machines.values():
            machine.victim = True
            path, place = _place(machine.disk, frame)
            Harm(FLIP, path, place + at).do(machine.disk)
            if not places:
                _lose_places(machine.disk)
            cluster.start(machine)
        owner = Owner(cluster, "after")
        end_ns = cluster.queue.now_ns + EVERYWHERE_NS
        while cluster.queue.now_ns < end_ns:
            for each in cluster.up():
                if each.process is not None and each.process.replica.leads:
                    owner.send(each.process.replica)
            cluster.queue.run_until(cluster.queue.now_ns + 5 * STEP_NS)
        _read_everywhere(cluster)
        for machine in cluster.machines.values():
            if machine.process is not None:
                cluster.end(machine, CrashKind.LOSE)
                _scan(cluster, machine)
    return SERVED if owner.acked else STOPPED


def cases_each(base: Base) -> Iterator[Case]:
    """Yield cases in which each replica is damaged, at an entry that the others have."""
    frames = [bytes(entry.frame) for entry in _entries(base)]
    for first in range(len(frames)):
        for what, at in (("header", 20), ("magic", 0)):
            run = partial(damage_each, frames=frames[first:] + frames[:first], at=at)
            yield Case(f"each replica, {what}", f"each {first + 1} {at}", run)


def damage_each(base: Base, frames: Sequence[bytes], at: int) -> str:
    """Damage another entry on each replica: they heal each other, and no leader is needed for it.

    None of them may campaign before its log is whole (ruling 20). All damage is known at once,
    because the files with the entries' places are lost, too.
    """
    with small_limits(BROKER):
        cluster = DamagedCluster(base)
        for machine, frame in zip(cluster.machines.values(), frames, strict=False):
            machine.victim = True
            path, place = _place(machine.disk, frame)
            Harm(FLIP, path, place + at).do(machine.disk)
            _lose_places(machine.disk)
            cluster.start(machine)
        run_until_converged(cluster, "after the damage")
        Owner(cluster, "after").send_acked()
        look_at_brokers(cluster)
        run_until_converged(cluster, "after everything was read")
        cluster.observer.finish()
        for machine in cluster.machines.values():
            cluster.end(machine, CrashKind.LOSE)
            _scan(cluster, machine)
            _demand_whole(machine, cluster)
    return REPAIRED


def _lose_places(disk: SimDisk) -> None:
    """Lose every ``.idx``: they are never synced. A start reads all entries then."""
    files = disk.files()
    for path in disk.paths():
        if path.endswith(INDEX_SUFFIX):
            files.remove(path)
    files.sync_directory(f"{SHARD}/log")


def _read_everywhere(cluster: DamagedCluster) -> None:
    """Read what each replica has; none need have all of it, and what it serves must be right."""
    for machine in cluster.up():
        process = machine.process
        assert process is not None, "a machine that is up has no process"
        state = process.state
        assert isinstance(state, BrokerState), f"{machine.node} has no topic store"
        queue = state.machine.queues.get(QUEUE)
        if queue is not None:
            read_queue(cluster, machine, process, queue, EVERYWHERE_READ_NS, may_refuse=True)


def _place(disk: SimDisk, frame: bytes) -> tuple[str, int]:
    for path in harmful(disk):
        at = disk.content(path).find(frame)
        if at >= 0 and path.endswith(".seg"):
            return path, at
    raise AssertionError("an entry is nowhere")
