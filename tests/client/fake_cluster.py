"""A cluster for the SDK's tests: the real use-cases and machine over one log in memory.

Everything that is proposed is committed in the next iteration of the loop. Who
leads, and what becomes of the next requests, the test decides: refused, carried
out with the answer lost, or kept and carried out later, when its sender is long
gone.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Final, TypeVar, cast

from raftlog.base.clock import SystemClock
from raftlog.base.entry import Buffer
from raftlog.base.errors import NotLeader, RaftlogError
from raftlog.base.ids import ClusterId, DirectoryId, Index, NodeId, ReplicaId, ShardId
from raftlog.broker.codec import CommandValue, write_command
from raftlog.broker.group_commands import (
    LeaveGroup,
)
from raftlog.broker.topics import MoveStart
from raftlog.client.client import Client
from raftlog.node.threads import LoopScheduler
from raftlog.service.admission import Admission
from raftlog.service.burying import Burying
from raftlog.service.checks import CheckService
from raftlog.service.claims import ClaimService
from raftlog.service.delays import DelayService
from raftlog.service.filtering import FilterService
from raftlog.service.find import FindService
from raftlog.service.footprint import Footprint
from raftlog.service.groups import GroupService
from raftlog.service.handlers import ClientHandlers, ShardService
from raftlog.service.heartbeats import HeartbeatService
from raftlog.service.leases import LeaseService
from raftlog.service.members import MemberService
from raftlog.service.passing_time import PassingTime
from raftlog.service.ports import OnOutcome, OnReady, StoredBodies, StoredEntries, StoredRanges
from raftlog.service.produce import ProduceService
from raftlog.service.producers import ProducerService
from raftlog.service.quotas import QuotaService
from raftlog.service.read import ReadService
from raftlog.service.receiving import ReceiveService
from raftlog.service.sessions import Sessions
from raftlog.service.topics import TopicService
from raftlog.service.tracing import TraceService
from raftlog.service.transactions import TransactionService
from raftlog.service.unread import UnreadTimes
from raftlog.transport.gate import Gate
from raftlog.transport.server import ClientServer, Request
from raftlog.wire.frame import Method
from raftlog.wire.schema import client
from tests.service.fakes import FakeReplica

T = TypeVar("T")

CLUSTER: Final = ClusterId("c" * 32)
Handler = Callable[[Request], None]
Fault = Callable[["FakeNode", Request, Handler], None]
"""What becomes of one request; the handler carries it out."""


def refused(error: RaftlogError) -> Fault:
    """Answer with ``error`` without carrying it out."""
    return lambda _node, request, _handler: request.fail(error)


def carried_out(node: "FakeNode", request: Request, handler: Handler) -> None:
    """No fault: for the requests before one that fails."""
    handler(request)
    del node


def answer_lost(node: "FakeNode", request: Request, handler: Handler) -> None:
    """Carry it out; the connection ends before the answer."""
    connection = request._connection
    request._connection = None
    handler(request)
    assert connection is not None, "the request was answered before"
    asyncio.get_running_loop().call_soon(connection.abort)
    del node


def request_late(node: "FakeNode", request: Request, handler: Handler) -> None:
    """The connection ends; the request is carried out when the test says so (``late``)."""
    connection = request._connection
    request._connection = None
    assert connection is not None, "the request was answered before"
    asyncio.get_running_loop().call_soon(connection.abort)
    node.cluster.late.append(lambda: handler(request))


def unanswered(node: "FakeNode", request: Request, handler: Handler) -> None:
    """Keep it; nothing happens before the test says so (``late``)."""
    node.cluster.late.append(lambda: handler(request))


class _Seen:
    """The members, as the leader sees them: all are well."""

    are_decided = True

    def __init__(self) -> None:
        self.silent: set[NodeId] = set()

    def progress_of(self, _node: NodeId) -> tuple[Index, bool] | None:
        """Say that it has everything."""
        return Index(1), True

    def is_alive(self, node: NodeId) -> bool:
        """Whether a test has not silenced it."""
        return node not in self.silent


class _Replica(FakeReplica):
    """Commits what is proposed in the next iteration of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.members = _Seen()
        """The members, as the leader sees them."""
        self._is_scheduled = False

    def propose(
        self, command_type: int, parts: Sequence[Buffer], on_outcome: OnOutcome, /
    ) -> None:
        """Take it."""
        super().propose(command_type, [bytes(part) for part in parts], on_outcome)
        self._schedule()

    def status(self) -> SimpleNamespace:
        """Say how long the log is."""
        return SimpleNamespace(last=Index(len(self.entries)))

    def _schedule(self) -> None:
        if self.proposed and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._commit)

    def _commit(self) -> None:
        self._is_scheduled = False
        self.log_time_ms = SystemClock().wall_ms()
        self.commit()
        self._schedule()

    def read_index(self, on_ready: OnReady, /) -> None:
        """Everything is applied."""
        asyncio.get_running_loop().call_soon(on_ready, None)


class _Reader:
    """Works in the next iteration of the loop."""

    def submit(
        self, work: Callable[[], T], done: Callable[[T | None, Exception | None], None]
    ) -> None:
        """Take it."""
        asyncio.get_running_loop().call_soon(lambda: done(work(), None))


class FakeCluster:
    """What the nodes agree on: one log, one machine, one leader."""

    def __init__(self) -> None:
        self.replica = _Replica()
        self.machine = self.replica.machine
        scheduler = LoopScheduler(asyncio.get_running_loop())
        sessions = self.sessions = Sessions(self.replica, self.machine, scheduler)
        sessions.begin()
        admission = Admission(self.machine, scheduler)
        nothing = cast("StoredRanges", None)  # every entry is in memory
        read = ReadService(
            self.replica, self.machine, cast("StoredBodies", None), nothing, scheduler
        )
        self.burying = Burying(read, _Reader())
        """Makes dead letters from when a test lets it begin."""
        time = self.time = PassingTime(self.replica, self.machine, scheduler)
        bodies = cast("StoredBodies", None)  # they are in memory, too
        checks = self.checks = CheckService(self.replica, self.machine, bodies, time, scheduler)
        self.burying = Burying(read, _Reader())
        """Makes no dead letters until a test lets it begin."""
        time.begin()
        checks.begin()
        self.service = ShardService(
            produce=ProduceService(self.replica, self.machine, admission),
            quotas=QuotaService(self.replica, self.machine, admission),
            read=read,
            filters=FilterService(read, _Reader()),
            tracing=TraceService(read, _Reader(), cast("StoredEntries", None)),
            delays=DelayService(self.replica, self.machine, admission),
            transactions=TransactionService(self.replica, self.machine, admission),
            checks=checks,
            find=FindService(self.replica, self.machine, nothing),
            topics=TopicService(self.replica, self.machine, Footprint(self.machine, scheduler)),
            producers=ProducerService(self.replica),
            groups=GroupService(
                *(self.replica, self.machine, sessions, UnreadTimes(self.machine, nothing)),
                scheduler.wall_ms,
            ),
            claims=ClaimService(self.replica, self.machine),
            heartbeats=HeartbeatService(self.replica, self.machine, sessions, scheduler),
            leases=LeaseService(
                *(self.replica, self.machine, UnreadTimes(self.machine, nothing)),
                scheduler.wall_ms,
            ),
            receiving=ReceiveService(read, _Reader(), FilterService(read, _Reader())),
            members=MemberService(self.replica),
            status=client.NodeStatus,
            transfer=self._transfer,
            role_changed=lambda _: None,
            stop=lambda: None,
        )
        self.leader = "n1"
        self.term = 3
        self.tells_leader = True
        """Whether a node that does not lead says who does."""
        self.nodes: list[FakeNode] = []
        self.late: list[Callable[[], None]] = []
        """Requests that were kept; call one to carry it out."""

    def _transfer(self, target: NodeId | None) -> None:
        self.lead(target or "n2")

    def lead(self, node: str) -> None:
        """Let another node lead."""
        self.leader = node
        self.term += 1

    @property
    def hint(self) -> NodeId | None:
        """Whom a node names that does not lead."""
        return NodeId(self.leader) if self.tells_leader else None

    @property
    def seeds(self) -> list[str]:
        """Where clients reach the nodes."""
        return [node.address for node in self.nodes]

    def fault(self, method: Method, *faults: Fault) -> None:
        """Let the next requests of ``method`` end so, whoever they ask."""
        for node in self.nodes:
            node.faults.setdefault(method, deque()).extend(faults)

    def heal(self) -> None:
        """Forget the faults that were not used."""
        for node in self.nodes:
            node.faults.clear()

    async def propose(self, value: CommandValue) -> None:
        """Commit a command of the leader's own."""
        done = asyncio.get_running_loop().create_future()
        command = write_command(value)
        self.replica.propose(
            command.type, command.parts, lambda outcome, *_: done.set_result(outcome)
        )
        await done

    async def expire(self, group: str, member: str) -> None:
        """A member was silent for too long."""
        await self.propose(LeaveGroup(group, member, expired=True))

    async def forget_below(self, topic: str, place: int, start: int) -> None:
        """Retention moves a queue's start."""
        found = self.machine.topics.get(topic)
        assert found is not None, topic
        await self.propose(MoveStart(found.queues[place], start))

    def values(self, topic: str) -> list[list[bytes]]:
        """Return what each queue of a topic holds, in order."""
        from raftlog.wire.batch import records  # noqa: PLC0415  (beside its only use)

        found = self.machine.topics.get(topic)
        assert found is not None, topic
        stored: list[list[bytes]] = []
        for number in found.queues:
            queue = self.machine.queues.get(number)
            assert queue is not None, number
            held: list[bytes] = []
            while len(held) < queue.end_offset:
                postings = self.machine.find(number, len(held))
                posting = postings[postings.find(len(held))]
                entry = self.replica.entries[posting.index - 1]
                end = posting.position + posting.length
                batch = memoryview(entry.body)[posting.position : end]
                held.extend(record.value or b"" for record in records(batch))
            stored.append(held)
        return stored

    def count(self, method: Method) -> int:
        """Return how many requests of ``method`` were received."""
        return sum(node.received.get(method, 0) for node in self.nodes)


class FakeNode:
    """One address of the cluster."""

    def __init__(self, name: str, cluster: FakeCluster) -> None:
        self.name = name
        self.cluster = cluster
        self.faults: dict[Method, deque[Fault]] = {}
        self.received: dict[int, int] = {}
        self.is_silent = False
        """Whether it answers nothing, as a machine that is cut off."""
        handlers = ClientHandlers({ShardId(0): cluster.service}).by_method
        replica = ReplicaId(NodeId(name), DirectoryId(name * 16))
        self.server = ClientServer(
            Gate(CLUSTER, replica),
            {method: self._guarded(handler) for method, handler in handlers.items()},
            address_of=self._address_of,
        )

    def _address_of(self, node: NodeId) -> str:
        return next((each.address for each in self.cluster.nodes if each.name == node), "")

    @property
    def address(self) -> str:
        """Where clients reach it."""
        return f"127.0.0.1:{self.server.port}"

    def disconnect(self) -> None:
        """End every connection."""
        for connection in tuple(self.server.connections):
            connection.abort()

    def _guarded(self, handler: Handler) -> Handler:
        def handle(request: Request) -> None:
            self.received[request.method] = self.received.get(request.method, 0) + 1
            waiting = self.faults.get(Method(request.method))
            if self.is_silent:
                return
            if waiting:
                waiting.popleft()(self, request, handler)
            elif request.method == Method.STATUS:
                self._status(request)
            elif self.cluster.leader != self.name and not _may_be_old(request):
                request.fail(NotLeader(self.cluster.hint))
            else:
                handler(request)

        return handle

    def _status(self, request: Request) -> None:
        cluster = self.cluster
        request.reply(
            client.NodeStatus(
                cluster=CLUSTER,
                node=self.name,
                role="leader" if cluster.leader == self.name else "follower",
                term=cluster.term,
                leader=cluster.leader,
                leader_address=self._address_of(cluster.hint) if cluster.hint else "",
                counters={"received": sum(self.received.values())},
            )
        )


def _may_be_old(request: Request) -> bool:
    """Whether any node may answer."""
    message = request.message
    return isinstance(message, client.ReadBatches) and message.HasField("staleness_ms")


@asynccontextmanager
async def fake_cluster(size: int = 1, **topics: int) -> AsyncIterator[FakeCluster]:
    """Give a cluster of nodes n1, n2, ..; n1 leads. ``topics``: name and number of queues."""
    cluster = FakeCluster()
    for number in range(1, size + 1):
        node = FakeNode(f"n{number}", cluster)
        await node.server.listen("127.0.0.1", 0)
        cluster.nodes.append(node)
    try:
        if topics:
            async with Client(cluster.seeds) as admin:
                for name, queues in topics.items():
                    await admin.topics.create(name, queues=queues)
        yield cluster
    finally:
        cluster.sessions.end()
        for node in cluster.nodes:
            await node.server.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that nobody announces."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
