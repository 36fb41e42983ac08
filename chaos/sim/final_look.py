"""The topic store at the end of a run: each replica's index, its readers' answers, its files."""

from collections.abc import Iterator, Sequence
from typing import Final

from google.protobuf.message import Message

from chaos.check.index_projection import Indexed, check_projection
from chaos.check.queue_reads import NAME as QUEUE_READS
from chaos.check.same_files import SameFiles
from chaos.check.violation import Violation
from chaos.sim.calls import SimRequest
from chaos.sim.cluster import SHARD, Cluster
from chaos.sim.events import MS_NS, SECOND_NS
from chaos.sim.facts import Facts
from chaos.sim.process import Machine, Process
from chaos.sim.states import BrokerState
from chaos.sim.told_look import look_at_told
from chaos.sim.waiting import missing_after
from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    NotPermitted,
    OffsetOutOfRange,
    RaftlogError,
    WrongQueue,
)
from raftlog.base.ids import NodeId, Offset
from raftlog.broker.index import RangeSummary
from raftlog.broker.queues import Queue
from raftlog.broker.ranges import parse_range
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

READ_BYTES: Final = 100_000
READING_NS: Final = 20 * SECOND_NS
REPAIRING_NS: Final = 3 * SECOND_NS


def look_at_brokers(cluster: Cluster) -> None:
    """Compare every replica that runs with the committed log, through its own use-cases, too.

    Raises:
        Violation: A replica's index or answer is not what the log says.
    """
    facts = cluster.observer.facts
    if facts is None:
        return
    _scrub(cluster)
    for machine in cluster.up():
        process = machine.process
        assert process is not None, "a machine that is up has no process"
        state = process.state
        assert isinstance(state, BrokerState), f"{machine.node} has no topic store"
        queues = _queues_of(cluster, machine.node, process, state, facts)
        look_at_told(machine.node, process, facts)
        for queue in queues:
            stored = facts.reads.batches.get(queue.number, ())
            postings = list(_postings(machine, state, queue))
            check_projection(machine.node, queue.number, queue.start_offset, postings, stored)
        for queue in queues:
            read_queue(cluster, machine, process, queue)


def _queues_of(
    cluster: Cluster, node: NodeId, process: Process, state: BrokerState, facts: Facts
) -> list[Queue]:
    """Return the queues that a replica has: soon, all that there are and no other.

    A request that was late may append, or make or delete a topic, while another replica is
    looked at: this one is waited for until it has applied what anybody has.
    """
    queues: list[Queue] = []

    def why_not() -> str | None:
        applied, end = process.replica.applied, cluster.observer.applied_end
        if applied < end:
            return f"{node} has applied {applied} of {end}"
        found = [state.machine.queues.get(number) for number in sorted(facts.offsets.ends)]
        queues[:] = [queue for queue in found if queue is not None]
        alive = {queue.number for queue in queues}
        expected = set(facts.offsets.ends) - facts.deleted
        return None if alive == expected else f"{node} has {alive}, not {expected}"

    missing = missing_after(cluster.queue, why_not, REPAIRING_NS, 10 * MS_NS)
    if missing is not None:
        raise Violation("index_projection", missing)
    return queues


def _scrub(cluster: Cluster) -> None:
    """Let damaged disks be looked through, and what is found be repaired: then all is clean."""
    victims = [machine for machine in cluster.up() if machine.victim]
    wanted: dict[NodeId, int] = {}
    for machine in victims:
        assert machine.process is not None, "a machine that is up has no process"
        wanted[machine.node] = machine.process.replica.upkeep.scrubber.scrub_now()

    def why_not() -> str | None:
        behind = [
            each.node
            for each in victims
            if each.process is not None
            and each.process.replica.upkeep.scrubber.passes < wanted[each.node]
        ]
        return f"{behind} are not through" if behind else None

    missing_after(cluster.queue, why_not, READING_NS)  # beyond the atlas it may take longer
    if victims:
        cluster.queue.run_until(cluster.queue.now_ns + REPAIRING_NS)


def _postings(machine: Machine, state: BrokerState, queue: Queue) -> Iterator[Indexed]:
    """Walk through a replica's index of one queue, from its start to its end."""
    offset: int = queue.start_offset
    while offset < queue.end_offset:
        found = state.machine.find(queue.number, Offset(offset))
        if isinstance(found, RangeSummary):
            path = f"{SHARD}/index/{found.first_index:020d}.qx"
            found = parse_range(machine.disk.content(path))[1][queue.number]
        for place in range(found.find(Offset(offset)), len(found)):
            posting = found[place]
            offset = posting.end_offset
            yield Indexed(
                *(posting.base_offset, posting.count, posting.log_time_ms),
                *(posting.index, posting.position, posting.length),
            )


class _Answer:
    """The answer to one read."""

    def __init__(self) -> None:
        self.batches: client.BatchesRead | None = None
        self.payload: Sequence[bytes] = ()
        self.error: RaftlogError | None = None

    @property
    def came(self) -> bool:
        """Whether it is there."""
        return self.batches is not None or self.error is not None

    def take(
        self, message: Message | None, payload: Sequence[Buffer], error: RaftlogError | None
    ) -> None:
        """Note it."""
        assert message is None or isinstance(message, client.BatchesRead), f"{message!r}"
        self.batches, self.error = message, error
        self.payload = [bytes(each) for each in payload]


def read_queue(
    cluster: Cluster,
    machine: Machine,
    process: Process,
    queue: Queue,
    patience_ns: int = READING_NS,
    *,
    may_refuse: bool = False,
) -> None:
    """Read a queue from one replica, from its start to where this replica knows it to end.

    ``may_refuse``: nobody has a good copy of everything.

    Raises:
        Violation: It serves what is not there, or nothing, though its disk is good.
    """
    facts = cluster.observer.facts
    assert facts is not None, "a topic store without facts"
    offset: int = queue.start_offset
    deadline_ns = cluster.queue.now_ns + patience_ns
    while offset < queue.end_offset:
        answer = _ask(cluster, process, queue.number, offset)
        if answer.batches is not None:
            offset = facts.reads.read(
                queue.number, offset, answer.batches.base_offsets, answer.payload
            )
        elif isinstance(answer.error, OffsetOutOfRange | WrongQueue | NotPermitted):
            # A late request, or retention, has moved it or taken it away meanwhile.
            start, _ = facts.bounds(queue.number)
            if isinstance(answer.error, OffsetOutOfRange) and offset >= start:
                raise Violation(QUEUE_READS, f"{machine.node}: {answer.error}")
            offset = start if isinstance(answer.error, OffsetOutOfRange) else queue.end_offset
        elif cluster.queue.now_ns < deadline_ns:
            cluster.queue.run_until(cluster.queue.now_ns + SECOND_NS // 10)
        elif may_refuse:
            return
        else:
            raise Violation(
                QUEUE_READS,
                f"{machine.node} does not serve queue {queue.number} at {offset}: {answer.error}",
            )


def _ask(cluster: Cluster, process: Process, queue: int, offset: int) -> _Answer:
    answer = _Answer()
    message = client.ReadBatches(queue=queue, offset=offset, bytes_max=READ_BYTES)
    process.state.handlers[Method.READ](SimRequest(message, b"", answer.take))
    while not answer.came:
        cluster.queue.run_until(cluster.queue.now_ns + 2 * MS_NS)
    return answer


def look_at_files(cluster: Cluster) -> None:
    """Compare what the disks have of sealed ranges and snapshots, after a power cut.

    Raises:
        Violation: Two good disks have different bytes under one name.
    """
    same = SameFiles()
    for machine in cluster.machines.values():
        if machine.victim:
            continue
        files = {
            path: machine.disk.content(path)
            for path in machine.disk.paths()
            if path.startswith((f"{SHARD}/index/", f"{SHARD}/snapshot/"))
            and path.endswith((".qx", ".tables"))
        }
        same.found(machine.node, files)
        if files:
            cluster.marks["index files compared"] += len(files)
