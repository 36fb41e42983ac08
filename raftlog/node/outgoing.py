"""What the shell knows and the core does not, put into messages as they leave."""

from collections.abc import Callable

from raftlog.node.space import NodeSpace
from raftlog.raft.rpcs import HeartbeatReply, PeerMessage, VoteReply


def with_facts_of_node(
    message: PeerMessage, space: NodeSpace, wall_ms: Callable[[], int]
) -> PeerMessage:
    """Return ``message`` with this node's disk level and wall clock, if it carries them."""
    if type(message) is HeartbeatReply:
        return HeartbeatReply(
            *(message.term, message.round, space.level, wall_ms()),
            pledged_ms=message.pledged_ms,
            is_aside=message.is_aside,
        )
    if type(message) is VoteReply:
        return VoteReply(message.term, message.granted, wall_ms())
    return message
