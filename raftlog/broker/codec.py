"""Commands beside appends: values to bytes and back (ruling 15).

MessagePack arrays of the values in ``topics``, ``producers``, ``groups`` and
``claims``. Whoever proposes reads what it has written with ``read_command``,
the function that apply uses; so what is malformed is refused before it is in
the log, and what is in the log all the same has a refusal as its outcome. What
carries a batch is not MessagePack: the batch must lie in the log as it is.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadRequest, Refused
from raftlog.broker.claims import ClaimQueue, CommitOffsets, SeekGroup
from raftlog.broker.commands import Command, CommandType
from raftlog.broker.delays import CancelDelayed
from raftlog.broker.group_commands import (
    DeleteGroup,
    JoinGroup,
    LeaveGroup,
    SetSubscription,
)
from raftlog.broker.lease_commands import (
    AckMessages,
    DecideBlocked,
    ExtendLeases,
    ReceiveMatching,
    ReceiveMessages,
    ReturnMessages,
)
from raftlog.broker.message_types import AlterTypedTopic, CreateTypedTopic
from raftlog.broker.producers import FenceProducer, InitProducer
from raftlog.broker.queue_groups import OpenQueueGroup
from raftlog.broker.queue_seeks import SeekQueueGroup
from raftlog.broker.queue_subscriptions import SubscribeQueueGroup
from raftlog.broker.quotas import RemoveQuota, SetQuota
from raftlog.broker.shares import ReleaseQueues
from raftlog.broker.timetable import PassTime
from raftlog.broker.topics import AlterTopic, CreateTopic, DeleteTopic, MoveConsumed, MoveStart
from raftlog.broker.transactions import AnswerChecks, Decide, ResolveTransaction
from raftlog.broker.transactors import InitTransactor
from raftlog.broker.trims import Trim

CommandValue = (
    CreateTopic
    | AlterTopic
    | DeleteTopic
    | MoveStart
    | InitProducer
    | FenceProducer
    | JoinGroup
    | LeaveGroup
    | DeleteGroup
    | ClaimQueue
    | CommitOffsets
    | SeekGroup
    | SetSubscription
    | ReleaseQueues
    | Trim
    | PassTime
    | OpenQueueGroup
    | ReceiveMessages
    | AckMessages
    | ExtendLeases
    | ReturnMessages
    | DecideBlocked
    | SetQuota
    | RemoveQuota
    | MoveConsumed
    | CancelDelayed
    | InitTransactor
    | Decide
    | ResolveTransaction
    | AnswerChecks
    | SubscribeQueueGroup
    | ReceiveMatching
    | SeekQueueGroup
    | CreateTypedTopic
    | AlterTypedTopic
)


class _Decoder(Protocol):
    def decode(self, data: Buffer, /) -> CommandValue: ...


_TYPES: Final[Mapping[type[CommandValue], CommandType]] = {
    CreateTopic: CommandType.CREATE_TOPIC,
    AlterTopic: CommandType.ALTER_TOPIC,
    DeleteTopic: CommandType.DELETE_TOPIC,
    MoveStart: CommandType.MOVE_START,
    InitProducer: CommandType.INIT_PRODUCER,
    FenceProducer: CommandType.FENCE_PRODUCER,
    JoinGroup: CommandType.JOIN_GROUP,
    LeaveGroup: CommandType.LEAVE_GROUP,
    DeleteGroup: CommandType.DELETE_GROUP,
    ClaimQueue: CommandType.CLAIM_QUEUE,
    CommitOffsets: CommandType.COMMIT_OFFSETS,
    SeekGroup: CommandType.SEEK_GROUP,
    SetSubscription: CommandType.SET_SUBSCRIPTION,
    ReleaseQueues: CommandType.RELEASE_QUEUES,
    Trim: CommandType.TRIM,
    PassTime: CommandType.PASS_TIME,
    OpenQueueGroup: CommandType.OPEN_QUEUE_GROUP,
    ReceiveMessages: CommandType.RECEIVE_MESSAGES,
    AckMessages: CommandType.ACK_MESSAGES,
    ExtendLeases: CommandType.EXTEND_LEASES,
    ReturnMessages: CommandType.RETURN_MESSAGES,
    DecideBlocked: CommandType.DECIDE_BLOCKED,
    SetQuota: CommandType.SET_QUOTA,
    RemoveQuota: CommandType.REMOVE_QUOTA,
    MoveConsumed: CommandType.MOVE_CONSUMED,
    CancelDelayed: CommandType.CANCEL_DELAYED,
    InitTransactor: CommandType.INIT_TRANSACTOR,
    Decide: CommandType.DECIDE,
    ResolveTransaction: CommandType.RESOLVE_TRANSACTION,
    AnswerChecks: CommandType.ANSWER_CHECKS,
    SubscribeQueueGroup: CommandType.SUBSCRIBE_QUEUE_GROUP,
    ReceiveMatching: CommandType.RECEIVE_MATCHING,
    SeekQueueGroup: CommandType.SEEK_QUEUE_GROUP,
    CreateTypedTopic: CommandType.CREATE_TYPED_TOPIC,
    AlterTypedTopic: CommandType.ALTER_TYPED_TOPIC,
}
_DECODERS: Final[Mapping[int, _Decoder]] = {
    int(kind): msgspec.msgpack.Decoder(value) for value, kind in _TYPES.items()
}


def write_command(value: CommandValue) -> Command:
    """Return the command that ``value`` is, to be proposed.

    Raises:
        BadRequest: A field is out of its bounds; it would be refused in apply.
        Refused: Or, for a name or a number that is too large, its own kind.
    """
    kind = _TYPES[type(value)]
    data = msgspec.msgpack.encode(value)
    read_command(kind, data)
    return Command(kind, (data,))


def read_command(kind: int, data: Buffer) -> CommandValue:
    """Return the value of a command that is not an append.

    Raises:
        BadRequest: The bytes are none, or a field is out of its bounds.
        Refused: A name or number that the value itself refuses.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise Refused(f"this shard takes no commands of type {kind}")
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"a command of type {kind} does not decode: {error}") from None
