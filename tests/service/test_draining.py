"""Draining a node: all its shards or none, and what it tells of them."""

from raftlog.base.errors import BadRequest
from raftlog.base.ids import DirectoryId, NodeId, ReplicaId, ShardId
from raftlog.base.membership import Membership
from raftlog.service.draining import DrainService, drain
from raftlog.wire.schema import client
from tests.service.test_handlers import FakeRequest

REPLICAS = tuple(ReplicaId(NodeId(f"n{n}"), DirectoryId(f"d{n}")) for n in (1, 2, 3))


class FakeReplica:
    """n1 of one shard."""

    def __init__(self, membership: Membership, *, leads: bool) -> None:
        self.id = REPLICAS[0]
        self.membership = membership
        self.leads = leads
        self.told: list[bool] = []

    def stand_aside(self, *, is_aside: bool) -> None:
        self.told.append(is_aside)


def asked(replicas: list[FakeReplica], *, undo: bool = False) -> FakeRequest:
    request = FakeRequest(client.DrainNode(undo=undo))
    shards = {ShardId(n): DrainService(replica) for n, replica in enumerate(replicas)}
    drain(shards, request)
    return request


def test_every_shard_is_drained_and_those_still_led_are_told() -> None:
    """Whoever asks waits until there are none."""
    replicas = [FakeReplica(Membership(REPLICAS), leads=leads) for leads in (True, False)]

    assert asked(replicas).answers == [client.NodeDraining(drained=True, leads=[0])]
    assert [replica.told for replica in replicas] == [[True], [True]]


def test_nothing_is_drained_if_one_shard_has_no_other_voter() -> None:
    """A learner can't lead it, either."""
    alone = Membership(REPLICAS[:1], (), REPLICAS[1:])
    replicas = [FakeReplica(Membership(REPLICAS), leads=True), FakeReplica(alone, leads=True)]
    (answer,) = asked(replicas).answers

    assert isinstance(answer, BadRequest)
    assert "n1 is the only voter of shard 1" in str(answer)
    assert [replica.told for replica in replicas] == [[], []]


def test_it_can_always_be_undone() -> None:
    """The others may have gone meanwhile."""
    replica = FakeReplica(Membership(REPLICAS[:1]), leads=True)

    assert asked([replica], undo=True).answers == [client.NodeDraining(leads=[0])]
    assert replica.told == [False]
