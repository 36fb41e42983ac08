"""What may lose its disk when (ruling 16): one replica, if a majority has all without it."""

from random import Random

from chaos.sim.cluster import Cluster
from chaos.sim.disk import CrashKind
from chaos.sim.events import SECOND_NS
from chaos.sim.operator import Operator
from chaos.sim.wiped_disks import dispensable, wipe_one
from raftlog.base.ids import NodeId
from raftlog.broker.commands import CommandType
from tests.sim.test_planted import leader_of, pass_time, quiet_cluster


def append(cluster: Cluster, count: int = 5) -> None:
    """Append some entries, and let who can have them."""
    for number in range(count):
        leader = leader_of(cluster).process
        assert leader is not None
        leader.replica.propose(CommandType.RAW, [b"later %d" % number], lambda *_: None)
        cluster.queue.run_until(cluster.queue.now_ns + SECOND_NS // 20)


def nodes(cluster: Cluster) -> set[NodeId]:
    """Return who may be wiped."""
    return {machine.node for machine in dispensable(cluster)}


def test_any_one_of_three_that_are_equal() -> None:
    """The leader, too."""
    assert nodes(quiet_cluster(watched=True)) == {"n1", "n2", "n3"}


def test_only_the_one_that_is_behind() -> None:
    """What the other two have is on them alone."""
    cluster = quiet_cluster(watched=True)
    leader = leader_of(cluster)
    behind = next(each for each in cluster.machines.values() if each is not leader)
    cluster.end(behind, CrashKind.LOSE)
    append(cluster)
    assert nodes(cluster) == {behind.node}


def test_nobody_while_another_is_still_joining() -> None:
    """And again when it votes with its new directory, and has the log."""
    cluster = quiet_cluster(watched=True)
    assert wipe_one(cluster, Random(1))
    pass_time(cluster)
    assert nodes(cluster) == set()
    assert not wipe_one(cluster, Random(1))
    operator = Operator(cluster, Random(1))
    operator.invite()
    pass_time(cluster, 10)
    assert operator.is_home
    append(cluster)
    pass_time(cluster)
    assert nodes(cluster) == {"n1", "n2", "n3"}
