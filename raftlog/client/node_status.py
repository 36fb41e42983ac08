"""What a node says about itself, as a value."""

from collections.abc import Mapping

import msgspec

from raftlog.client.log_space import LogSpace, read_space
from raftlog.wire.schema import client


class NodeStatus(msgspec.Struct, frozen=True):
    """One node of a shard: who it is, who leads, and how far it is.

    Attributes:
        cluster: The cluster's id.
        node: The node that answered.
        role: "leader", "follower", ..
        term: The newest term that it knows.
        leader: The node that leads, as far as it knows; "" if it knows none.
        leader_address: Where clients reach that.
        voters: The nodes of the shard that decide.
        start: The first log index that it holds.
        commit: How far the log is committed.
        applied: How far it is carried out here.
        last: The last log index here.
        durable: How far it is on this node's disk.
        counters: Figures for people; their names may change.
        alarms: What somebody has to look at, in sentences.
        directory: The id of the answering node's data directory.
        learners: The nodes that only receive the log.
        shards: How many shards the cluster has.
        space: What takes the shard's space, and who keeps the log from being trimmed.
    """

    cluster: str
    node: str
    role: str
    term: int
    leader: str
    leader_address: str
    voters: tuple[str, ...]
    start: int
    commit: int
    applied: int
    last: int
    durable: int
    counters: Mapping[str, int]
    alarms: tuple[str, ...] = ()
    directory: str = ""
    learners: tuple[str, ...] = ()
    shards: int = 1
    space: LogSpace = LogSpace((), 0, None)


def read_status(answer: client.NodeStatus) -> NodeStatus:
    """Return the value of a node's answer."""
    return NodeStatus(
        answer.cluster,
        answer.node,
        answer.role,
        answer.term,
        answer.leader,
        answer.leader_address,
        tuple(answer.voters),
        answer.start,
        answer.commit,
        answer.applied,
        answer.last,
        answer.durable,
        dict(answer.counters),
        tuple(answer.alarms),
        answer.directory,
        tuple(answer.learners),
        max(1, answer.shards),
        read_space(answer.space),
    )
