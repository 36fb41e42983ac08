"""What a client says of a cluster's health: usable is what a majority has confirmed."""

import asyncio

import pytest

from raftlog.base.errors import Closed, PeerRefused
from raftlog.base.ids import DirectoryId, NodeId, ReplicaId
from raftlog.base.membership import Membership
from raftlog.client.client import Client
from raftlog.client.health import ClusterHealth
from raftlog.testing.processes import free_ports
from raftlog.wire.frame import Method
from tests.client.fake_cluster import fake_cluster, unanswered


def test_an_empty_cluster_is_healthy() -> None:
    """There need be no topic."""

    async def run() -> None:
        async with fake_cluster() as cluster, Client(cluster.seeds) as client:
            found = await client.health()
            assert (found.complaint, found.leader, found.is_healthy) == ("", "n1", True)
            assert (found.voters, found.silent, found.spare) == (("n1",), (), 0)

    asyncio.run(run())


def test_who_is_silent_is_named_if_it_votes() -> None:
    """A learner decides nothing; the leader need not hear itself."""

    async def run() -> None:
        others = [ReplicaId(NodeId(f"n{n}"), DirectoryId(f"d{n}")) for n in (2, 3, 4)]
        async with fake_cluster() as cluster, Client(cluster.seeds) as client:
            replica = cluster.replica
            replica.membership = Membership((replica.id, *others[:2]), learners=(others[2],))
            replica.members.silent |= {NodeId("n1"), NodeId("n3"), NodeId("n4")}
            found = await client.health()
            assert (found.voters, found.silent) == (("n1", "n2", "n3"), ("n3",))
            assert (found.is_healthy, found.spare) == (True, 0)

    asyncio.run(run())


def test_a_leader_that_no_majority_confirms_is_not_enough() -> None:
    """It tells its status all the same, and its members: it was cut off a moment ago."""

    async def run() -> None:
        async with fake_cluster() as cluster, Client(cluster.seeds) as client:
            cluster.fault(Method.QUOTA_LIST, *[unanswered] * 9)
            assert (await client.status()).leader == "n1"
            found = await client.health(timeout=0.3)
            assert not found.is_healthy
            assert found.complaint

    asyncio.run(run())


def test_nobody_there_is_told_in_time() -> None:
    """And not raised: that is what was asked."""

    async def run() -> None:
        (port,) = free_ports(1)
        async with Client(f"127.0.0.1:{port}") as client, asyncio.timeout(5):
            found = await client.health(timeout=0.3)
            assert "no leader was found" in found.complaint
            assert (found.leader, found.voters, found.spare) == ("", (), 0)

    asyncio.run(run())


def test_what_is_the_caller_s_mistake_is_raised() -> None:
    """Another cluster says nothing about this one; a closed client asks nobody."""

    async def run() -> None:
        async with fake_cluster() as cluster:
            async with Client(cluster.seeds, cluster="other") as client:
                with pytest.raises(PeerRefused):
                    await client.health(timeout=3)
            with pytest.raises(Closed):
                await client.health()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("voters", "silent", "spare"),
    [(1, 0, 0), (2, 0, 0), (3, 0, 1), (3, 1, 0), (4, 0, 1), (5, 1, 1), (5, 2, 0), (3, 2, 0)],
)
def test_spare_is_how_many_more_may_fail(voters: int, silent: int, spare: int) -> None:
    """Those that are silent have failed already."""
    names = tuple(f"n{number}" for number in range(voters))
    assert ClusterHealth("", "n0", names, names[voters - silent :]).spare == spare
    assert ClusterHealth("no", "n0", names).spare == 0
