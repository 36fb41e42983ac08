"""What the shell knows and the core does not, put into messages as they leave."""

from collections.abc import Callable

from raftlog.node.space import NodeSpace
from raftlog.raft.rpcs import AppendAccepted, HeartbeatReply, PeerMessage, VoteReply
from raftlog.storage.log_store import LogStore


def with_facts_of_node(
    message: PeerMessage, store: LogStore, space: NodeSpace, wall_ms: Callable[[], int]
) -> PeerMessage:
    """Return ``message`` with what it carries of the disk's promises and level, and of the clock.

    The promises, so that an older directory is found out (ruling 16).
    """
    if type(message) is AppendAccepted:
        return AppendAccepted(message.term, message.matched, store.durable_promises[1])
    if type(message) is HeartbeatReply:
        return HeartbeatReply(
            *(message.term, message.round, space.level, wall_ms()),
            pledged_ms=message.pledged_ms,
            is_aside=message.is_aside,
        )
    if type(message) is VoteReply:
        return VoteReply(message.term, message.granted, wall_ms())
    return message
