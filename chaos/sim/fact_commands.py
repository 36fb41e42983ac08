"""Commands of the topic store that are decoded as a whole, for those who look at the log."""

from typing import Final

import msgspec

from raftlog.broker.claims import ClaimQueue, CommitOffsets, SeekGroup
from raftlog.broker.commands import CommandType
from raftlog.broker.delays import CancelDelayed
from raftlog.broker.group_commands import DeleteGroup, JoinGroup, LeaveGroup
from raftlog.broker.message_types import AlterTypedTopic, CreateTypedTopic
from raftlog.broker.producers import FenceProducer
from raftlog.broker.quotas import RemoveQuota, SetQuota
from raftlog.broker.shares import ReleaseQueues
from raftlog.broker.topics import AlterTopic, CreateTopic, DeleteTopic, MoveConsumed, MoveStart
from raftlog.broker.trims import Trim

COMMANDS: Final[dict[int, msgspec.msgpack.Decoder[msgspec.Struct]]] = {
    int(kind): msgspec.msgpack.Decoder(command)
    for kind, command in (
        (CommandType.CREATE_TOPIC, CreateTopic),
        (CommandType.ALTER_TOPIC, AlterTopic),
        (CommandType.CREATE_TYPED_TOPIC, CreateTypedTopic),
        (CommandType.ALTER_TYPED_TOPIC, AlterTypedTopic),
        (CommandType.DELETE_TOPIC, DeleteTopic),
        (CommandType.MOVE_START, MoveStart),
        (CommandType.MOVE_CONSUMED, MoveConsumed),
        (CommandType.FENCE_PRODUCER, FenceProducer),
        (CommandType.LEAVE_GROUP, LeaveGroup),
        (CommandType.RELEASE_QUEUES, ReleaseQueues),
        (CommandType.JOIN_GROUP, JoinGroup),
        (CommandType.DELETE_GROUP, DeleteGroup),
        (CommandType.CLAIM_QUEUE, ClaimQueue),
        (CommandType.COMMIT_OFFSETS, CommitOffsets),
        (CommandType.SEEK_GROUP, SeekGroup),
        (CommandType.TRIM, Trim),
        (CommandType.CANCEL_DELAYED, CancelDelayed),
        (CommandType.SET_QUOTA, SetQuota),
        (CommandType.REMOVE_QUOTA, RemoveQuota),
    )
}
