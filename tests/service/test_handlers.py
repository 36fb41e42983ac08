"""Requests of the wire: every method answered once, with what its message promises."""

from collections.abc import Callable, Sequence

from google.protobuf.message import Message
from msgspec import structs

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, BadRequest, NotLeader, RaftlogError
from raftlog.base.ids import ClusterId, DirectoryId, Index, NodeId, ReplicaId, ShardId, Term
from raftlog.base.membership import Membership
from raftlog.raft.config import CoreStatus
from raftlog.service.admission import Admission
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
from raftlog.service.producers import ProducerService
from raftlog.service.quotas import QuotaService
from raftlog.service.receiving import ReceiveService
from raftlog.service.sessions import Sessions
from raftlog.service.status import (
    NodeFacts,
    log_space,
    machine_sizes,
    node_status,
    service_counters,
)
from raftlog.service.tracing import TraceService
from raftlog.service.transactions import TransactionService
from raftlog.service.unread import UnreadTimes
from raftlog.wire.batch import encode_columns
from raftlog.wire.frame import Method
from raftlog.wire.requests import EXCHANGES
from raftlog.wire.schema import client
from tests.service.fakes import FakeEntries, FakeReader
from tests.service.test_read import World

BATCH = encode_columns([b"a", b"b"], timestamp_ms=5)


class FakeRequest:
    """A request, and what became of it."""

    def __init__(self, message: Message, payload: Buffer = b"", shard: int = 0) -> None:
        self.shard = ShardId(shard)
        self.message = message
        self.payload = payload
        self.on_cancelled: Callable[[], None] | None = None
        self.answers: list[Message | RaftlogError] = []
        self.sent = b""

    def reply(self, message: Message, payload: Sequence[Buffer] = ()) -> None:
        """Keep the answer, as it would be on the wire."""
        self.answers.append(type(message).FromString(message.SerializeToString()))
        self.sent = b"".join(payload)

    def fail(self, error: RaftlogError) -> None:
        """Keep the error."""
        self.answers.append(error)


def served() -> tuple[World, ClientHandlers, list[NodeId | None]]:
    world = World()
    transfers: list[NodeId | None] = []
    replica = ReplicaId(NodeId("n1"), DirectoryId("0" * 32))
    core = CoreStatus(
        replica=replica,
        role="leader",
        term=Term(3),
        leader="n1",
        commit=Index(9),
        applied=Index(8),
        durable=Index(7),
        last=Index(9),
        start=Index(0),
        followers={},
    )
    facts = NodeFacts(ClusterId("c"), NodeId("n1"), lambda node: f"{node}.example:1")

    filters = FilterService(world.service, FakeReader())

    def status() -> client.NodeStatus:
        counters = {
            **service_counters(world.append, filters),
            **machine_sizes(world.replica.machine),
        }
        return node_status(facts, core, Membership((replica,)), counters)

    machine, ranges, scheduler = world.replica.machine, world.ranges, world.scheduler
    sessions = Sessions(world.replica, machine, scheduler)
    time = PassingTime(world.replica, machine, scheduler)
    checks = CheckService(world.replica, machine, world.bodies, time, scheduler)
    checks.begin()
    service = ShardService(
        produce=world.append,
        read=world.service,
        delays=DelayService(world.replica, machine),
        transactions=TransactionService(world.replica, machine, Admission(machine, scheduler)),
        checks=checks,
        filters=filters,
        tracing=TraceService(world.service, FakeReader(), FakeEntries()),
        find=FindService(world.replica, machine, ranges),
        topics=world.topics,
        producers=ProducerService(world.replica),
        quotas=QuotaService(world.replica, machine, Admission(machine, scheduler)),
        groups=GroupService(
            *(world.replica, machine, sessions, UnreadTimes(machine, ranges)),
            world.scheduler.wall_ms,
        ),
        claims=ClaimService(world.replica, machine),
        heartbeats=HeartbeatService(world.replica, machine, sessions, scheduler),
        leases=LeaseService(
            world.replica, machine, UnreadTimes(machine, ranges), world.scheduler.wall_ms
        ),
        receiving=ReceiveService(world.service, FakeReader(), filters),
        members=MemberService(world.replica),
        status=status,
        space=lambda: log_space(Footprint(machine, scheduler).space()),
        transfer=transfers.append,
        role_changed=lambda _: sessions.begin(),
        stop=sessions.end,
    )
    sessions.begin()
    return world, ClientHandlers({ShardId(0): service}), transfers


def ask(handlers: ClientHandlers, method: Method, request: FakeRequest) -> FakeRequest:
    handlers.by_method[method](request)
    return request


def test_every_method_of_the_wire_has_a_handler() -> None:
    """A method without one would be known to clients and served by nobody."""
    _, handlers, _ = served()
    assert handlers.by_method.keys() == EXCHANGES.keys()


def test_an_append_is_answered_with_its_place() -> None:
    """The answer says what the acknowledgement means, too (R1)."""
    world, handlers, _ = served()
    asked = client.AppendBatch(queue=world.queue)
    request = ask(handlers, Method.APPEND, FakeRequest(asked, BATCH))
    assert request.answers == []
    world.replica.commit()
    expected = client.BatchAppended(base_offset=0, term=3, index=2, durability="fsync")
    assert request.answers == [expected]


def test_a_refused_append_fails_the_request() -> None:
    """With the very error, which travels by its code."""
    world, handlers, _ = served()
    asked = client.AppendBatch(queue=world.queue)
    request = ask(handlers, Method.APPEND, FakeRequest(asked, b"rubbish"))
    assert [type(answer) for answer in request.answers] == [BadBatch]


def test_a_read_is_answered_with_the_stored_batches_one_after_the_other() -> None:
    """The header says where each begins; the payload is untouched."""
    world, handlers, _ = served()
    world.store(BATCH, BATCH)
    asked = client.ReadBatches(queue=world.queue, offset=1, bytes_max=1 << 20)
    request = ask(handlers, Method.READ, FakeRequest(asked))
    expected = client.BatchesRead(
        base_offsets=[0, 2], lengths=[len(BATCH)] * 2, end_offset=4, applied=2
    )
    assert (request.answers, request.sent) == ([expected], BATCH + BATCH)


def test_a_waiting_read_is_cancelled_with_its_request() -> None:
    """Otherwise the reads of lost connections pile up until their deadlines."""
    world, handlers, _ = served()
    asked = client.ReadBatches(queue=world.queue, offset=0, bytes_max=100, wait_ms=1_000)
    request = ask(handlers, Method.READ, FakeRequest(asked))
    assert request.on_cancelled is not None
    request.on_cancelled()
    world.store(BATCH)
    assert (request.answers, world.scheduler.armed) == ([], 0)


def test_the_end_offset_waits_for_the_leader_s_confirmation() -> None:
    """It is a linearizable read (ruling 23)."""
    world, handlers, _ = served()
    world.store(BATCH)
    request = ask(handlers, Method.END_OFFSET, FakeRequest(client.EndOffset(queue=world.queue)))
    assert request.answers == []
    world.replica.reads[0](None)
    assert request.answers == [client.EndOffsetIs(end_offset=2)]


def test_the_status_names_the_leader_s_address_and_counts() -> None:
    """It is how a client finds the leader, and how the bench counts."""
    world, handlers, _ = served()
    world.store(BATCH)
    (answer,) = ask(handlers, Method.STATUS, FakeRequest(client.GetStatus())).answers
    assert isinstance(answer, client.NodeStatus)
    assert (answer.node, answer.role, answer.term, answer.durable) == ("n1", "leader", 3, 7)
    assert (answer.leader, answer.leader_address) == ("n1", "n1.example:1")
    assert list(answer.voters) == ["n1"]
    assert (answer.counters["append_batches"], answer.counters["queues_size"]) == (1, 1)


def test_what_takes_space_is_told_to_who_asks_for_it() -> None:
    """Clients that look for the leader do not make a node look at every queue."""
    world, handlers, _ = served()
    world.store(BATCH)
    told = []
    for asked in (client.GetStatus(), client.GetStatus(space=True)):
        (answer,) = ask(handlers, Method.STATUS, FakeRequest(asked)).answers
        assert isinstance(answer, client.NodeStatus)
        told.append(answer)
    assert [answer.HasField("space") for answer in told] == [False, True]
    assert told[1].space.bytes == len(BATCH)


def test_a_transfer_without_a_target_leaves_the_choice_to_the_leader() -> None:
    """An empty name is no node."""
    _, handlers, transfers = served()
    for target in ("", "n2"):
        asked = FakeRequest(client.TransferLeader(target=target))
        assert ask(handlers, Method.TRANSFER, asked).answers == [client.TransferStarted()]
    assert transfers == [None, "n2"]


def test_a_node_that_does_not_lead_has_nothing_to_hand_over() -> None:
    """It must not say that it has begun to."""
    refusal = NotLeader(NodeId("n2"))
    _, handlers, __ = served()
    shard = structs.replace(handlers._shards[ShardId(0)], transfer=lambda _: refusal)
    handlers = ClientHandlers({ShardId(0): shard})
    asked = FakeRequest(client.TransferLeader(target="n3"))
    assert ask(handlers, Method.TRANSFER, asked).answers == [refusal]


def test_a_shard_that_is_not_here_is_a_bad_request_for_every_method() -> None:
    """A client with a wrong route must learn it, not wait."""
    _, handlers, _ = served()
    for method, exchange in EXCHANGES.items():
        request = ask(handlers, Method(method), FakeRequest(exchange.request(), shard=4))
        assert [type(answer) for answer in request.answers] == [BadRequest]
