"""The cluster that is damaged: three nodes with a small topic store, and their disks.

n1 is the one whose disk will be damaged. Its log has several segments, a change
of terms, and a branch that it had to truncate; its index several ranges, and two
snapshots. All of it is small, because every byte is a case of its own.
"""

import pickle
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from chaos.check.liveness import why_not_converged
from chaos.check.violation import Violation
from chaos.crash.states import kept
from chaos.sim.clocks import true_ms
from chaos.sim.cluster import DATA, Cluster
from chaos.sim.disk import CrashKind, SimDisk
from chaos.sim.events import MS_NS, SECOND_NS
from chaos.sim.limits import small_limits
from chaos.sim.network import NetworkConfig, both_ways
from chaos.sim.observer import Observer
from chaos.sim.process import Machine
from chaos.sim.swarm import BrokerConfig, CallsConfig, SeedConfig
from raftlog.base.errors import DamagedLog, RaftlogError
from raftlog.base.ids import Index, NodeId, ReplicaId, Term
from raftlog.base.writes import Write
from raftlog.broker.appends import Appended, append_parts
from raftlog.broker.codec import write_command
from raftlog.broker.commands import CommandType
from raftlog.broker.topics import CreateTopic, TopicChanges
from raftlog.node.replica import Replica
from raftlog.raft.config import CoreConfig
from raftlog.storage.directory import DataDirectory
from raftlog.wire.batch import encode_columns

VICTIM: Final = NodeId("n1")
OTHERS: Final = (NodeId("n2"), NodeId("n3"))
QUEUE: Final = 1
STEP_NS: Final = 20 * MS_NS
PATIENCE_NS: Final = 20 * SECOND_NS
"""So long may a healthy majority take for anything."""
BROKER: Final = BrokerConfig(
    range_body_bytes=1 << 20,
    range_postings=3,
    snapshot_chunk_bytes=200,
    topics=("orders",),
    queues_max=1,
    retention_ms=0,
    retention_bytes=0,
    codec="none",
    calls=CallsConfig(),
    value_bytes_max=8,
    plain_per_s=0,
    idempotent_per_s=0,
    producers=0,
    in_flight_max=1,
    crashes_per_s=0,
    readers=0,
    reads_per_s=0,
    groups=(),
    members=0,
    session_ms=1_000,
    member_sleeps=0,
    member_leaves=0,
    commits_late=0,
    administration_per_s=0,
)
CONFIG: Final = SeedConfig(
    seed=1,
    nodes=3,
    fault_ns=0,
    core=CoreConfig(heartbeat_ticks=2, election_ticks_min=6, election_ticks_max=12),
    segment_bytes=900,
    coalesce=False,
    network=NetworkConfig(),
    periods_ns={},
    appends_per_s=0,
    reads_per_s=0,
    value_bytes_max=8,
    disk_ns=MS_NS // 20,
    victims=0,
    wrong_clocks=0,
    drift_ppm=0,
    heal_majority=False,
    broker=BROKER,
)


class Base(msgspec.Struct, frozen=True):
    """A cluster that was switched off: its disks, and what its observer knows."""

    disks: dict[NodeId, SimDisk]
    observer: bytes
    """Pickled: every case goes on from a copy."""


class DamagedCluster(Cluster):
    """The cluster of a base, started on copies of its disks."""

    def __init__(self, base: Base) -> None:
        self._base = base
        super().__init__(CONFIG)
        observer: Observer = pickle.loads(base.observer)
        observer.goes_on(partial(true_ms, self.queue))
        self.observer = observer
        self.marks = observer.marks
        self.marks.clear()
        self.why_down: dict[NodeId, str] = {}

    def _make_machine(self, replica: ReplicaId) -> Machine:
        machine = super()._make_machine(replica)
        machine.disk = self._base.disks[machine.node].fork()
        return machine

    def start(self, machine: Machine, in_flight: Sequence[Write] = ()) -> None:
        """Start a process as a node does: it looks first whose directory it is."""
        try:
            DataDirectory.open(DATA, files=machine.disk.files()).close()
        except DamagedLog as error:
            self._refused_to_start(machine, error)
            return
        super().start(machine, in_flight)

    def _refused_to_start(self, machine: Machine, error: Exception) -> None:
        super()._refused_to_start(machine, error)
        self.why_down[machine.node] = str(error)


def run_until_converged(cluster: Cluster, what: str) -> None:
    """Let time pass until all that run have one leader and equal logs.

    Raises:
        Violation: They never do.
    """
    deadline_ns = cluster.queue.now_ns + PATIENCE_NS
    while (missing := why_not_converged(cluster.views())) is not None:
        if cluster.queue.now_ns >= deadline_ns:
            raise Violation("liveness", f"{what}: {missing}")
        cluster.queue.run_until(cluster.queue.now_ns + STEP_NS)


def leading(cluster: Cluster) -> Replica | None:
    """Return the replica that leads the latest term."""
    running = [machine.process.replica for machine in cluster.up() if machine.process is not None]
    leaders = [replica for replica in running if replica.leads]
    return max(leaders, key=lambda replica: replica.core.term, default=None)


class Owner:
    """Sends records and remembers what it was told."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self._count = 0
        self.acked = 0

    def send(self, replica: Replica) -> None:
        """Send one record, once."""
        self._count += 1
        value = f"{self._name}{self._count}".encode()
        facts = self._cluster.observer.facts
        assert facts is not None, "a cluster with a topic store"
        facts.sends.sends(value)

        def ended(outcome: object, _term: Term, _index: Index) -> None:
            if isinstance(outcome, Appended):
                facts.sends.acked(value, QUEUE, outcome.base_offset)
                self.acked += 1
            else:
                assert isinstance(outcome, RaftlogError), f"a send ended with {outcome!r}"

        parts = append_parts(QUEUE, encode_columns([value], timestamp_ms=5))
        replica.propose(CommandType.APPEND_BATCH, parts, ended)

    def send_acked(self, count: int = 1) -> None:
        """Send until ``count`` more are acknowledged.

        Raises:
            Violation: That never happens.
        """
        wanted = self.acked + count
        queue = self._cluster.queue
        deadline_ns = queue.now_ns + PATIENCE_NS
        while self.acked < wanted:
            if queue.now_ns >= deadline_ns:
                raise Violation("liveness", "new records are not acknowledged")
            replica = leading(self._cluster)
            if replica is not None:
                self.send(replica)
            queue.run_until(queue.now_ns + STEP_NS)


def make_base() -> Base:
    """Let a new cluster work, and switch it off."""
    with small_limits(BROKER):
        cluster = Cluster(CONFIG)
        for machine in cluster.machines.values():
            cluster.start(machine)
        run_until_converged(cluster, "a new cluster")
        replica = leading(cluster)
        assert replica is not None, "a converged cluster has a leader"
        create = write_command(CreateTopic("orders", TopicChanges(queues=1)))
        replica.propose(CommandType.CREATE_TOPIC, create.parts, lambda *_: None)
        owner = Owner(cluster, "v")
        owner.send_acked(4)
        _truncate_on_victim(cluster, owner)
        owner.send_acked(4)
        run_until_converged(cluster, "after the last write")
        # Files beside the log are written, the marks are synced, and so is what nobody asks for.
        cluster.queue.run_until(cluster.queue.now_ns + SECOND_NS // 2)
        for machine in cluster.machines.values():
            cluster.end(machine, CrashKind.KEEP)
            machine.disk.cut_power(lambda _: kept)
    disks = {node: machine.disk.fork() for node, machine in cluster.machines.items()}
    return Base(disks, pickle.dumps(cluster.observer))


def _truncate_on_victim(cluster: Cluster, owner: Owner) -> None:
    """Let the victim lead, cut off with an entry that nobody else has, and come back."""
    victim = cluster.machines[VICTIM].process
    assert victim is not None, "it runs"
    while not victim.replica.leads:
        replica = leading(cluster)
        if replica is not None:
            replica.transfer(VICTIM)
        cluster.queue.run_until(cluster.queue.now_ns + 10 * STEP_NS)
    run_until_converged(cluster, "the victim leads")
    cluster.network.block(both_ways([VICTIM], OTHERS))
    owner.send(victim.replica)
    cluster.queue.run_until(cluster.queue.now_ns + 20 * STEP_NS)
    cluster.network.block(())
    run_until_converged(cluster, "the victim is back")
    assert cluster.marks["truncations"], "nothing was truncated"
