"""What a client may ask: for each method the message asked with and answered with."""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

from raftlog.base.errors import ProtocolError
from raftlog.wire.frame import Method
from raftlog.wire.schema import (
    client,
    delays,
    groups,
    leases,
    letters,
    members,
    producers,
    quotas,
    search,
    topics,
    transactions,
)

M = TypeVar("M", bound=Message)


class Exchange(NamedTuple):
    """One method: its two messages, and what an answer that never came means."""

    request: type[Message]
    reply: type[Message]
    changes: bool = False
    """Whether it may have had its effect although no answer came."""


EXCHANGES: Final[Mapping[int, Exchange]] = {
    Method.APPEND: Exchange(client.AppendBatch, client.BatchAppended, changes=True),
    Method.READ: Exchange(client.ReadBatches, client.BatchesRead),
    Method.END_OFFSET: Exchange(client.EndOffset, client.EndOffsetIs),
    Method.STATUS: Exchange(client.GetStatus, client.NodeStatus),
    Method.TRANSFER: Exchange(client.TransferLeader, client.TransferStarted, changes=True),
    Method.SCRUB: Exchange(client.ScrubNow, client.ScrubBegun),
    Method.DRAIN: Exchange(client.DrainNode, client.NodeDraining),
    Method.FIND_OFFSET: Exchange(client.FindOffset, client.OffsetFound),
    Method.TOPIC_CREATE: Exchange(topics.CreateTopic, topics.TopicDescription, changes=True),
    Method.TOPIC_ALTER: Exchange(topics.AlterTopic, topics.TopicDescription, changes=True),
    Method.TOPIC_DELETE: Exchange(topics.DeleteTopic, topics.TopicDeleted, changes=True),
    Method.TOPIC_DESCRIBE: Exchange(topics.DescribeTopic, topics.TopicDescription),
    Method.TOPIC_LIST: Exchange(topics.ListTopics, topics.TopicsListed),
    Method.PRODUCER_INIT: Exchange(producers.InitProducer, producers.ProducerBegun),
    Method.PRODUCER_FENCE: Exchange(producers.FenceProducer, producers.ProducerFenced),
    Method.GROUP_JOIN: Exchange(groups.JoinGroup, groups.GroupAssignment),
    Method.GROUP_HEARTBEAT: Exchange(groups.HeartbeatGroup, groups.GroupAssignment),
    Method.GROUP_LEAVE: Exchange(groups.LeaveGroup, groups.GroupLeft),
    Method.GROUP_CLAIM: Exchange(groups.ClaimQueue, groups.QueueClaimed),
    Method.GROUP_COMMIT: Exchange(groups.CommitOffsets, groups.OffsetsCommitted),
    Method.GROUP_SEEK: Exchange(groups.SeekGroup, groups.GroupSought, changes=True),
    Method.GROUP_RELEASE: Exchange(groups.ReleaseQueues, groups.QueuesReleased),
    Method.GROUP_SUBSCRIBE: Exchange(groups.SetSubscription, groups.SubscriptionSet),
    Method.GROUP_DESCRIBE: Exchange(groups.DescribeGroup, groups.GroupDescription),
    Method.GROUP_LIST: Exchange(groups.ListGroups, groups.GroupsListed),
    Method.GROUP_DELETE: Exchange(groups.DeleteGroup, groups.GroupDeleted, changes=True),
    Method.MEMBER_LIST: Exchange(members.ListMembers, members.Members),
    Method.MEMBER_ADD: Exchange(members.AddMember, members.Members, changes=True),
    Method.MEMBER_PROMOTE: Exchange(members.PromoteMember, members.Members, changes=True),
    Method.MEMBER_DEMOTE: Exchange(members.DemoteMember, members.Members, changes=True),
    Method.MEMBER_REMOVE: Exchange(members.RemoveMember, members.Members, changes=True),
    Method.LEADER_PREFER: Exchange(members.PreferLeader, members.Members, changes=True),
    Method.DELAYED_APPEND: Exchange(delays.AppendDelayed, delays.BatchDelayed, changes=True),
    Method.DELAYED_CANCEL: Exchange(delays.CancelDelayed, delays.DelayedCancelled),
    Method.DELAYED_LIST: Exchange(delays.ListDelayed, delays.DelayedListed),
    Method.TRANSACTOR_INIT: Exchange(transactions.InitTransactor, transactions.TransactorBegun),
    Method.HALVES_STAGE: Exchange(transactions.StageHalves, transactions.HalvesStaged),
    Method.TRANSACTIONS_DECIDE: Exchange(
        transactions.DecideTransactions, transactions.TransactionsDecided
    ),
    Method.CHECKS_POLL: Exchange(transactions.PollChecks, transactions.ChecksDue),
    Method.CHECKS_ANSWER: Exchange(transactions.AnswerChecks, transactions.TransactionsDecided),
    Method.TRANSACTION_LIST: Exchange(
        transactions.ListTransactions, transactions.TransactionsListed
    ),
    Method.TRANSACTION_RESOLVE: Exchange(
        transactions.ResolveTransaction, transactions.TransactionDecided
    ),
    Method.TRANSACTION_COMMIT: Exchange(
        transactions.CommitTransaction, transactions.TransactionCommitted, changes=True
    ),
    Method.TRANSACTION_STAGE: Exchange(transactions.StageBatch, transactions.BatchStaged),
    Method.QUEUE_OPEN: Exchange(leases.OpenQueueGroup, leases.QueueGroupDescription),
    Method.QUEUE_RECEIVE: Exchange(leases.ReceiveMessages, leases.MessagesReceived),
    Method.QUEUE_ACK: Exchange(leases.AckMessages, leases.MessagesSettled),
    Method.QUEUE_EXTEND: Exchange(leases.ExtendLeases, leases.MessagesSettled),
    Method.QUEUE_RETURN: Exchange(leases.ReturnMessages, leases.MessagesSettled),
    Method.QUEUE_DECIDE: Exchange(leases.DecideBlocked, leases.MessagesSettled, changes=True),
    Method.QUEUE_DESCRIBE: Exchange(leases.DescribeQueueGroup, leases.QueueGroupDescription),
    Method.QUEUE_LIST: Exchange(leases.ListQueueGroups, leases.QueueGroupsListed),
    Method.QUEUE_SEEK: Exchange(leases.SeekQueueGroup, leases.QueueGroupSought, changes=True),
    Method.QUEUE_IN_FLIGHT: Exchange(leases.ListInFlight, leases.InFlightListed),
    Method.QUOTA_SET: Exchange(quotas.SetQuota, quotas.Quota, changes=True),
    Method.QUOTA_REMOVE: Exchange(quotas.RemoveQuota, quotas.QuotaRemoved, changes=True),
    Method.QUOTA_LIST: Exchange(quotas.ListQuotas, quotas.QuotasListed),
    Method.SEARCH: Exchange(search.SearchQueue, client.BatchesRead),
    Method.TRACE: Exchange(search.TraceMessage, search.MessageTraced),
    Method.TRACE_HIDDEN: Exchange(search.TraceHidden, search.HiddenTraced),
    Method.GROUP_SEEKS: Exchange(search.ListSeeks, search.SeeksListed),
    Method.HISTORY: Exchange(search.TraceHistory, search.HistoryTold),
}
"""What changes something and is harmless to repeat (a claim, a fence, a drain, a commit, a join
under the same member, a lease under the same handle, an ack, a transaction's decision, a staged
part of one) counts as looking: its caller asks again."""

BROKER: Final = "Broker"
"""The gRPC service that offers the same to any language (``broker.proto``)."""

RPCS: Final[Mapping[str, Method]] = {
    "Append": Method.APPEND,
    "Read": Method.READ,
    "GetEndOffset": Method.END_OFFSET,
    "Find": Method.FIND_OFFSET,
    "Status": Method.STATUS,
    "Transfer": Method.TRANSFER,
    "Scrub": Method.SCRUB,
    "Drain": Method.DRAIN,
    "Create": Method.TOPIC_CREATE,
    "Alter": Method.TOPIC_ALTER,
    "Delete": Method.TOPIC_DELETE,
    "Describe": Method.TOPIC_DESCRIBE,
    "List": Method.TOPIC_LIST,
    "Init": Method.PRODUCER_INIT,
    "Fence": Method.PRODUCER_FENCE,
    "Join": Method.GROUP_JOIN,
    "Heartbeat": Method.GROUP_HEARTBEAT,
    "Leave": Method.GROUP_LEAVE,
    "Claim": Method.GROUP_CLAIM,
    "Commit": Method.GROUP_COMMIT,
    "Seek": Method.GROUP_SEEK,
    "Release": Method.GROUP_RELEASE,
    "GroupSubscribe": Method.GROUP_SUBSCRIBE,
    "GroupDescribe": Method.GROUP_DESCRIBE,
    "GroupList": Method.GROUP_LIST,
    "GroupDelete": Method.GROUP_DELETE,
    "MemberList": Method.MEMBER_LIST,
    "MemberAdd": Method.MEMBER_ADD,
    "MemberPromote": Method.MEMBER_PROMOTE,
    "MemberDemote": Method.MEMBER_DEMOTE,
    "MemberRemove": Method.MEMBER_REMOVE,
    "Prefer": Method.LEADER_PREFER,
    "AppendLater": Method.DELAYED_APPEND,
    "CancelLater": Method.DELAYED_CANCEL,
    "ListLater": Method.DELAYED_LIST,
    "InitTransactions": Method.TRANSACTOR_INIT,
    "StageHalf": Method.HALVES_STAGE,
    "TransactionDecide": Method.TRANSACTIONS_DECIDE,
    "PollCheck": Method.CHECKS_POLL,
    "AnswerCheck": Method.CHECKS_ANSWER,
    "TransactionList": Method.TRANSACTION_LIST,
    "TransactionResolve": Method.TRANSACTION_RESOLVE,
    "TransactionCommit": Method.TRANSACTION_COMMIT,
    "TransactionStage": Method.TRANSACTION_STAGE,
    "OpenQueue": Method.QUEUE_OPEN,
    "Receive": Method.QUEUE_RECEIVE,
    "Ack": Method.QUEUE_ACK,
    "Extend": Method.QUEUE_EXTEND,
    "Return": Method.QUEUE_RETURN,
    "Decide": Method.QUEUE_DECIDE,
    "QueueDescribe": Method.QUEUE_DESCRIBE,
    "QueueList": Method.QUEUE_LIST,
    "QueueSeek": Method.QUEUE_SEEK,
    "QueueInFlight": Method.QUEUE_IN_FLIGHT,
    "QuotaSet": Method.QUOTA_SET,
    "QuotaRemove": Method.QUOTA_REMOVE,
    "QuotaList": Method.QUOTA_LIST,
    "Search": Method.SEARCH,
    "Trace": Method.TRACE,
    "HiddenTrace": Method.TRACE_HIDDEN,
    "GroupSeeks": Method.GROUP_SEEKS,
    "History": Method.HISTORY,
}
"""Which method each rpc of that service is."""


def parse_header(kind: type[M], header: bytes) -> M:
    """Return the message that a frame's header is.

    Raises:
        ProtocolError: It is not one.
    """
    try:
        return kind.FromString(header)
    except DecodeError as error:
        raise ProtocolError(f"a {kind.__name__} does not decode: {error}") from error


COMPOSED: Final[Mapping[str, Exchange]] = {
    "LetterList": Exchange(letters.ListLetters, letters.LettersListed),
    "LetterResend": Exchange(letters.ResendLetters, letters.LettersResent),
}
"""Rpcs that a node makes of others, as a client would: framed TCP has none of them."""
