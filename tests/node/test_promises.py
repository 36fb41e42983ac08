"""What a node tells its peers of its own disk (ruling 16)."""

from raftlog.base.ids import Index, NodeId, ShardId, Term
from raftlog.base.space import DiskLevel
from raftlog.base.writes import WriteEntries
from raftlog.node.host import ShardPeers
from raftlog.node.space import NodeSpace
from raftlog.raft.rpcs import AppendAccepted, Heartbeat, HeartbeatReply, PeerMessage
from tests.storage.logs import Logs, chain


def test_an_answer_to_an_append_names_the_last_durable_unit() -> None:
    """n1's disk is at a unit; one that is only planned is no promise yet."""
    logs = Logs()
    sent: list[PeerMessage] = []
    space = NodeSpace()
    peers = ShardPeers(
        *(ShardId(0), logs.store, space),
        lambda _to, _shard, message: sent.append(message),
        lambda: 1_000,
    )
    entries = chain(2)
    logs.append(entries[:1])
    write = WriteEntries(logs.number(), None, tuple(entries[1:]))
    planned = logs.store.plan([write], Index(0))
    peers.send(NodeId("n2"), AppendAccepted(Term(1), Index(1)))
    planned.perform()
    logs.store.complete(planned)
    peers.send(NodeId("n2"), AppendAccepted(Term(1), Index(2)))
    beat = Heartbeat(Term(1), Index(2), 1)
    peers.send(NodeId("n2"), beat)
    space.level = DiskLevel.FULL
    peers.send(NodeId("n2"), HeartbeatReply(Term(1), 1, pledged_ms=500))
    first, second, other, full = sent
    assert isinstance(first, AppendAccepted)
    assert isinstance(second, AppendAccepted)
    assert (first.matched, second.matched) == (1, 2)
    assert (second.unit, first.unit) == (logs.store.unit_number, logs.store.unit_number - 1)
    assert other is beat
    assert full == HeartbeatReply(Term(1), 1, DiskLevel.FULL, 1_000, 500)
