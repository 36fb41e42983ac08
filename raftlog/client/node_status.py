"""What a node says about itself, as a value."""

import asyncio
from collections.abc import Mapping

import msgspec

from raftlog.client.asking import Asker
from raftlog.client.log_space import LogSpace, read_space
from raftlog.client.routing import LEADS
from raftlog.wire.frame import Method
from raftlog.wire.schema import client


class ForcedRecovery(msgspec.Struct, frozen=True):
    """A majority was given up by hand (``raftlog node unsafe-recover``).

    Attributes:
        index: The log entry that says so.
        wall_ms: When, by the clock of the machine where it was done.
        node: The survivor that went on.
        lost: Who was given up, of this and of earlier recoveries: node/directory.
    """

    index: int
    wall_ms: int
    node: str
    lost: tuple[str, ...]


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
        drained: Of the nodes that lead only if they must, those that this one knows of: itself,
            and if it leads the others.
        recovery: Set if a majority was ever given up.
        preferred: The nodes that lead this shard when they can, the first one most.
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
    drained: tuple[str, ...] = ()
    recovery: ForcedRecovery | None = None
    preferred: tuple[str, ...] = ()
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
        tuple(answer.drained),
        read_recovery(answer),
        tuple(answer.preferred),
        read_space(answer.space),
    )


def read_recovery(answer: client.NodeStatus) -> ForcedRecovery | None:
    """Return the mark of a recovery in a node's answer, if there is one."""
    if not answer.HasField("recovery"):
        return None
    found = answer.recovery
    return ForcedRecovery(found.index, found.wall_ms, found.node, tuple(found.lost))


async def leader_status(asker: Asker, timeout_s: float | None) -> NodeStatus:
    """Return what the leader says about itself.

    Raises:
        Unavailable: No leader within the timeout.
    """
    timeout_s = asker.timeout_s if timeout_s is None else timeout_s
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        answer, _ = await asker.ask(
            Method.STATUS, client.GetStatus(space=True), client.NodeStatus, timeout_s=timeout_s
        )
        channel = asker.router.leader
        if answer.role == LEADS or channel is None:
            return read_status(answer)
        asker.router.demote(channel)  # it led until a moment ago
        timeout_s = deadline - asyncio.get_running_loop().time()
