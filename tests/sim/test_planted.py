"""A disk with another committed entry, each checksum of it good: the replica on it stops (L1)."""

from collections import Counter
from typing import Any

import msgspec
import pytest

import chaos.sim.cluster as simulated
from chaos.sim.cluster import SHARD, Cluster
from chaos.sim.disk import CrashKind
from chaos.sim.events import SECOND_NS
from chaos.sim.faults import Fault
from chaos.sim.process import Machine
from chaos.sim.swarm import draw_config
from raftlog.base.entry import Entry, LogEnd, seal
from raftlog.base.errors import Diverged
from raftlog.base.ids import Index
from raftlog.broker.commands import CommandType
from raftlog.storage.log_store import LogStore
from raftlog.storage.new_log import create_log


class Blind:
    """An observer that sees nothing: what is planted here, the real one would find first."""

    facts = None

    def __init__(self) -> None:
        self.marks: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_named: None


def quiet_cluster(*, watched: bool = False, strikes: Fault | None = None) -> Cluster:
    """Return three nodes without a fault, running, with some entries.

    ``strikes``: the fault of somebody who strikes by hand.
    """
    config = msgspec.structs.replace(
        draw_config(0), nodes=3, periods_ns={}, broker=None, victims=0, segment_bytes=64 * 1024
    )
    if strikes is not None:
        victims = int(strikes is Fault.LOST_WRITE)
        config = msgspec.structs.replace(config, periods_ns={strikes: 1}, victims=victims)
    cluster = Cluster(config)
    if not watched:
        cluster.observer = Blind()  # type: ignore[assignment]
        cluster.marks = cluster.observer.marks
    for machine in cluster.machines.values():
        cluster.start(machine)
    pass_time(cluster)
    for number in range(20):
        leader = leader_of(cluster).process
        assert leader is not None
        leader.replica.propose(CommandType.RAW, [b"entry %d" % number], lambda *_: None)
        cluster.queue.run_until(cluster.queue.now_ns + SECOND_NS // 20)
    pass_time(cluster)
    return cluster


def pass_time(cluster: Cluster, seconds: int = 3) -> None:
    """Let messages arrive."""
    cluster.queue.run_until(cluster.queue.now_ns + seconds * SECOND_NS)


def leader_of(cluster: Cluster) -> Machine:
    """Return the machine that leads."""
    (found,) = [each for each in cluster.up() if each.process and each.process.replica.leads]
    return found


def entries_of(store: LogStore) -> list[Entry]:
    """Return the whole log, which is small and good."""
    span = store.locate(Index(1), store.end.index, 1 << 20)
    found = span.entries(span.read(wait=True) or b"")
    span.close()
    return list(found)


def plant(machine: Machine, at: int) -> None:
    """Write the log of a machine that is down anew, with another entry ``at``, well chained."""
    files = machine.disk.files()
    store = LogStore.open(files, SHARD, OPTIONS)
    entries, state = entries_of(store), store.hard_state
    planted: list[Entry] = entries[: at - 1]
    end: LogEnd = planted[-1].end
    for entry in entries[at - 1 :]:
        body = bytes(entry.body)
        if entry.index == at:
            body = body[:-1] + bytes([body[-1] ^ 1])
        planted.append(seal(entry.kind, entry.term, entry.index, end.checksum, [body]))
        end = planted[-1].end
    create_log(files, SHARD, OPTIONS, state, planted)


OPTIONS = simulated.StoreOptions(segment_bytes=64 * 1024)


def test_a_planted_entry_stops_the_follower_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else would ever compare it: the leader is idle, and each checksum is good."""
    monkeypatch.setattr(simulated, "DEEP_CHECK_SHARE", 0.0)
    cluster = quiet_cluster()
    leader = leader_of(cluster)
    victim = next(each for each in cluster.up() if each is not leader)
    cluster.end(victim, CrashKind.KEEP)
    plant(victim, at=10)
    cluster.start(victim)
    with pytest.raises(Diverged, match="committed"):
        pass_time(cluster)
    assert victim.process is not None
    assert victim.process.replica.stopped
    pass_time(cluster, 1)
    assert leader.process is not None
    (alarm,) = leader.process.replica.upkeep.alarms.raised
    assert alarm.startswith(f"{victim.node} has stopped")


def test_an_undamaged_disk_raises_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with nothing planted."""
    monkeypatch.setattr(simulated, "DEEP_CHECK_SHARE", 0.0)
    cluster = quiet_cluster()
    leader = leader_of(cluster)
    victim = next(each for each in cluster.up() if each is not leader)
    cluster.end(victim, CrashKind.KEEP)
    cluster.start(victim)
    pass_time(cluster)
    assert all(
        not each.process.replica.upkeep.alarms.raised for each in cluster.up() if each.process
    )
