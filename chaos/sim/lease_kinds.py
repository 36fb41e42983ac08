"""Commands of queue-style groups, as they lie in the log."""

from typing import Final

import msgspec

from raftlog.broker.commands import CommandType
from raftlog.broker.lease_commands import (
    AckMessages,
    DecideBlocked,
    ExtendLeases,
    ReceiveMatching,
    ReceiveMessages,
    ReturnMessages,
)
from raftlog.broker.queue_groups import OpenQueueGroup
from raftlog.broker.queue_seeks import SeekQueueGroup
from raftlog.broker.queue_subscriptions import SubscribeQueueGroup

COMMANDS: Final[dict[int, msgspec.msgpack.Decoder[msgspec.Struct]]] = {
    int(kind): msgspec.msgpack.Decoder(command)
    for kind, command in (
        (CommandType.OPEN_QUEUE_GROUP, OpenQueueGroup),
        (CommandType.SUBSCRIBE_QUEUE_GROUP, SubscribeQueueGroup),
        (CommandType.RECEIVE_MESSAGES, ReceiveMessages),
        (CommandType.RECEIVE_MATCHING, ReceiveMatching),
        (CommandType.ACK_MESSAGES, AckMessages),
        (CommandType.EXTEND_LEASES, ExtendLeases),
        (CommandType.RETURN_MESSAGES, ReturnMessages),
        (CommandType.DECIDE_BLOCKED, DecideBlocked),
        (CommandType.SEEK_QUEUE_GROUP, SeekQueueGroup),
    )
}
LEASE_KINDS: Final = frozenset(COMMANDS)
