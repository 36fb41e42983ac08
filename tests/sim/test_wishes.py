"""Who should lead, in a cluster of real replicas: a disk that hangs comes before a wish."""

import itertools

import pytest

from chaos.damage.base import (
    BROKER,
    DamagedCluster,
    Owner,
    leading,
    make_base,
    run_until_converged,
)
from chaos.sim.events import SECOND_NS
from chaos.sim.limits import small_limits
from chaos.sim.wish_faults import why_not_as_wished
from raftlog.raft.changes import Prefer


@pytest.mark.long
def test_a_preferred_leader_whose_disk_hangs_gives_leadership_up_until_it_is_well() -> None:
    """It answers heartbeats all the while; who leads then does not hand back."""
    with small_limits(BROKER):
        cluster = DamagedCluster(make_base())
        for machine in cluster.machines.values():
            cluster.start(machine)
        run_until_converged(cluster, "nothing is damaged")
        first = leading(cluster)
        assert first is not None
        first.change_members(Prefer((first.id.node,)), lambda _: None)
        run_until_converged(cluster, "the wish is known")
        owner = Owner(cluster, "hang")
        pace = cluster.machines[first.id.node].pace
        pace.slow_until_ns, pace.slow_factor = cluster.queue.now_ns + 20 * SECOND_NS, 20_000
        led: list[bool] = []
        for _ in range(100):
            replica = leading(cluster)
            if replica is not None:
                owner.send(replica)
                led.append(replica is first)
            cluster.queue.run_until(cluster.queue.now_ns + SECOND_NS // 5)

        changes = sum(one is not other for one, other in itertools.pairwise(led))
        assert changes == 1, f"leadership moved {changes} times"
        owner.send_acked(3)
        run_until_converged(cluster, "the disk is well")
        cluster.queue.run_until(cluster.queue.now_ns + 60 * SECOND_NS)
        assert why_not_as_wished(cluster.up()) is None
        assert leading(cluster) is first
