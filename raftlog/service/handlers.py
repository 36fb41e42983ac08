"""Requests of the wire become use-cases, and outcomes become replies.

One handler for each method, called by whichever transport received the request.
Nothing is decided here: a handler reads the message, starts the use-case, and
gives it a callback that answers. The handlers of a feature lie beside it.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar, cast

import msgspec

from raftlog.base.errors import BadRequest, RaftlogError
from raftlog.base.ids import NodeId, ShardId
from raftlog.raft.effects import RoleChanged
from raftlog.service import (
    delay_handlers,
    group_handlers,
    lease_handlers,
    member_handlers,
    producer_handlers,
    quota_handlers,
    record_handlers,
    topic_handlers,
    trace_handlers,
    transaction_handlers,
    walk_handlers,
)
from raftlog.service.checks import CheckService
from raftlog.service.claims import ClaimService
from raftlog.service.delays import DelayService
from raftlog.service.draining import DrainService, drain
from raftlog.service.filtering import FilterService
from raftlog.service.find import FindService
from raftlog.service.groups import GroupService
from raftlog.service.heartbeats import HeartbeatService
from raftlog.service.leases import LeaseService
from raftlog.service.members import MemberService
from raftlog.service.ports import ClientRequest
from raftlog.service.produce import ProduceService
from raftlog.service.producers import ProducerService
from raftlog.service.quotas import QuotaService
from raftlog.service.read import ReadService
from raftlog.service.receiving import ReceiveService
from raftlog.service.topics import TopicService
from raftlog.service.tracing import TraceService
from raftlog.service.transactions import TransactionService
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

S = TypeVar("S")
Handler = Callable[[ClientRequest], None]


class ShardService(msgspec.Struct, frozen=True):
    """The use-cases of one shard, and what its acknowledgements mean."""

    produce: ProduceService
    delays: DelayService
    transactions: TransactionService
    checks: CheckService
    read: ReadService
    filters: FilterService
    tracing: TraceService
    find: FindService
    topics: TopicService
    producers: ProducerService
    quotas: QuotaService
    groups: GroupService
    claims: ClaimService
    heartbeats: HeartbeatService
    leases: LeaseService
    receiving: ReceiveService
    members: MemberService
    status: Callable[[], client.NodeStatus]
    transfer: Callable[[NodeId | None], RaftlogError | None]
    """Hands leadership over, or returns why nothing happens."""
    role_changed: Callable[[RoleChanged], None]
    """To be told of every change of the replica's role."""
    stop: Callable[[], None]
    """To be called when nothing is served any more."""
    durability: str = "fsync"
    drain: DrainService | None = None
    """None: this shard's leadership does not matter to who drains the node."""
    space: Callable[[], client.LogSpace] = client.LogSpace
    """What takes the shard's space; asked for by itself, since it costs a look at every queue."""
    scrub: Callable[[], int] = lambda: 0
    """Looks for damage now; returns the number of the pass."""


class ClientHandlers:
    """The handlers of a node, by method."""

    def __init__(self, shards: Mapping[ShardId, ShardService]) -> None:
        self._shards = shards
        with_, groups, members = self._with, group_handlers, member_handlers
        leases = lease_handlers
        self.by_method: Final[Mapping[int, Handler]] = {
            Method.APPEND: self._append,
            Method.READ: self._read,
            Method.END_OFFSET: with_(lambda shard: shard.read, record_handlers.end_offset),
            Method.FIND_OFFSET: with_(lambda shard: shard.find, record_handlers.find_offset),
            Method.SEARCH: with_(lambda shard: shard.filters, record_handlers.search),
            Method.TRACE: with_(lambda shard: shard.tracing, trace_handlers.trace),
            Method.TRACE_HIDDEN: with_(lambda shard: shard.tracing, trace_handlers.hidden),
            Method.GROUP_SEEKS: with_(lambda shard: shard.tracing.walks, walk_handlers.seeks),
            Method.HISTORY: with_(lambda shard: shard.tracing.walks, walk_handlers.history),
            Method.STATUS: with_(lambda shard: shard, _status),
            Method.TRANSFER: with_(lambda shard: shard.transfer, _transfer),
            Method.DRAIN: self._drain,
            Method.SCRUB: with_(lambda shard: shard.scrub, _scrub),
            Method.TOPIC_CREATE: with_(lambda shard: shard.topics, topic_handlers.create),
            Method.TOPIC_ALTER: with_(lambda shard: shard.topics, topic_handlers.alter),
            Method.TOPIC_DELETE: with_(lambda shard: shard.topics, topic_handlers.delete),
            Method.TOPIC_DESCRIBE: with_(lambda shard: shard.topics, topic_handlers.describe),
            Method.TOPIC_LIST: with_(lambda shard: shard.topics, topic_handlers.list_),
            Method.PRODUCER_INIT: with_(lambda shard: shard.producers, producer_handlers.init),
            Method.PRODUCER_FENCE: self._fence,
            Method.QUOTA_SET: with_(lambda shard: shard.quotas, quota_handlers.set_),
            Method.QUOTA_REMOVE: with_(lambda shard: shard.quotas, quota_handlers.remove),
            Method.QUOTA_LIST: with_(lambda shard: shard.quotas, quota_handlers.list_),
            Method.GROUP_JOIN: with_(lambda shard: shard.groups, groups.join),
            Method.GROUP_HEARTBEAT: with_(lambda shard: shard.heartbeats, groups.heartbeat),
            Method.GROUP_LEAVE: with_(lambda shard: shard.groups, groups.leave),
            Method.GROUP_CLAIM: with_(lambda shard: shard.claims, groups.claim),
            Method.GROUP_COMMIT: with_(lambda shard: shard.claims, groups.commit),
            Method.GROUP_SEEK: with_(lambda shard: shard.claims, groups.seek),
            Method.GROUP_RELEASE: with_(lambda shard: shard.claims, groups.release),
            Method.GROUP_SUBSCRIBE: with_(lambda shard: shard.groups, groups.subscribe),
            Method.GROUP_DESCRIBE: with_(lambda shard: shard.groups, groups.describe),
            Method.GROUP_LIST: with_(lambda shard: shard.groups, groups.list_),
            Method.GROUP_DELETE: with_(lambda shard: shard.groups, groups.delete),
            Method.MEMBER_LIST: with_(lambda shard: shard.members, members.list_),
            Method.MEMBER_ADD: with_(lambda shard: shard.members, members.add),
            Method.MEMBER_PROMOTE: with_(lambda shard: shard.members, members.promote),
            Method.MEMBER_DEMOTE: with_(lambda shard: shard.members, members.demote),
            Method.MEMBER_REMOVE: with_(lambda shard: shard.members, members.remove),
            Method.LEADER_PREFER: with_(lambda shard: shard.members, members.prefer),
            **self._of_transactions(),
            Method.DELAYED_APPEND: self._append_delayed,
            Method.DELAYED_CANCEL: with_(lambda shard: shard.delays, delay_handlers.cancel),
            Method.DELAYED_LIST: with_(lambda shard: shard.delays, delay_handlers.list_),
            Method.QUEUE_OPEN: with_(lambda shard: shard.leases, leases.open_),
            Method.QUEUE_RECEIVE: with_(lambda shard: shard.receiving, leases.receive),
            Method.QUEUE_ACK: with_(lambda shard: shard.leases, leases.ack),
            Method.QUEUE_EXTEND: with_(lambda shard: shard.leases, leases.extend),
            Method.QUEUE_RETURN: with_(lambda shard: shard.leases, leases.give_back),
            Method.QUEUE_DECIDE: with_(lambda shard: shard.leases, leases.decide),
            Method.QUEUE_DESCRIBE: with_(lambda shard: shard.leases, leases.describe),
            Method.QUEUE_LIST: with_(lambda shard: shard.leases, leases.list_),
            Method.QUEUE_SEEK: with_(lambda shard: shard.leases, leases.seek),
            Method.QUEUE_IN_FLIGHT: with_(lambda shard: shard.leases, leases.in_flight),
        }

    def _with(
        self, use_cases: Callable[[ShardService], S], handle: Callable[[S, ClientRequest], None]
    ) -> Handler:
        """Return the handler that calls ``handle`` with some use-cases of the request's shard."""

        def handler(request: ClientRequest) -> None:
            shard = self._shard(request)
            if shard is not None:
                handle(use_cases(shard), request)

        return handler

    def _of_transactions(self) -> Mapping[int, Handler]:
        with_, halves = self._with, transaction_handlers
        return {
            Method.TRANSACTOR_INIT: with_(lambda shard: shard.transactions, halves.init),
            Method.HALVES_STAGE: self._with_durability(halves.stage),
            Method.TRANSACTIONS_DECIDE: self._with_durability(halves.decide),
            Method.TRANSACTION_COMMIT: self._with_durability(halves.commit),
            Method.TRANSACTION_STAGE: self._with_durability(halves.stage_batch),
            Method.TRANSACTION_LIST: with_(lambda shard: shard.transactions, halves.list_),
            Method.TRANSACTION_RESOLVE: with_(lambda shard: shard.transactions, halves.resolve),
            Method.CHECKS_POLL: with_(lambda shard: shard.checks, halves.poll),
            Method.CHECKS_ANSWER: with_(lambda shard: shard.checks, halves.answer),
        }

    def _with_durability(
        self, handle: Callable[[TransactionService, str, ClientRequest], None]
    ) -> Handler:
        """Return the handler of what is answered with what it means to be stored."""

        def handler(request: ClientRequest) -> None:
            shard = self._shard(request)
            if shard is not None:
                handle(shard.transactions, shard.durability, request)

        return handler

    def _shard(self, request: ClientRequest) -> ShardService | None:
        shard = self._shards.get(request.shard)
        if shard is None:
            request.fail(BadRequest(f"shard {request.shard} is not on this node"))
        return shard

    def _drain(self, request: ClientRequest) -> None:
        if self._shard(request) is not None:
            shards = self._shards.items()
            drain({n: shard.drain for n, shard in shards if shard.drain is not None}, request)

    def _append(self, request: ClientRequest) -> None:
        shard = self._shard(request)
        if shard is not None:
            record_handlers.append(shard.produce, shard.durability, request)

    def _append_delayed(self, request: ClientRequest) -> None:
        shard = self._shard(request)
        if shard is not None:
            delay_handlers.append(shard.delays, shard.durability, request)

    def _read(self, request: ClientRequest) -> None:
        shard = self._shard(request)
        if shard is not None:
            record_handlers.read(shard.read, shard.filters, request)

    def _fence(self, request: ClientRequest) -> None:
        shard = self._shard(request)
        if shard is not None:
            producer_handlers.fence(shard.producers, shard.durability, request)


def _status(shard: ShardService, request: ClientRequest) -> None:
    answer = shard.status()
    if cast("client.GetStatus", request.message).space:
        answer.space.CopyFrom(shard.space())
    request.reply(answer)


def _scrub(scrub: Callable[[], int], request: ClientRequest) -> None:
    request.reply(client.ScrubBegun(number=scrub()))


def _transfer(
    transfer: Callable[[NodeId | None], RaftlogError | None], request: ClientRequest
) -> None:
    message = cast("client.TransferLeader", request.message)
    refusal = transfer(NodeId(message.target) if message.target else None)
    if refusal is not None:
        request.fail(refusal)
    else:
        request.reply(client.TransferStarted())
