"""What a client says of a cluster's health, on real processes that are killed."""

import asyncio
from pathlib import Path

import pytest

from raftlog import sync
from raftlog.testing.cluster import LocalCluster
from tests.cluster.cluster_under_load import PATIENCE_S

pytestmark = pytest.mark.asyncio


@pytest.mark.long
async def test_a_cluster_is_healthy_while_a_majority_follows(tmp_path: Path) -> None:
    """One may fail, and is named; with two nothing can be committed, and the client says so."""
    async with LocalCluster(tmp_path, nodes=3) as cluster, cluster.client() as client:
        leader = await cluster.leader()
        found = await client.health()
        assert found.is_healthy
        assert found.leader == leader
        assert sorted(found.voters) == ["n1", "n2", "n3"]
        assert (found.silent, found.spare) == ((), 1)

        first, second = sorted({"n1", "n2", "n3"} - {leader})
        await cluster.kill(first)
        async with asyncio.timeout(PATIENCE_S):
            while (found := await client.health()).silent != (first,):
                assert found.is_healthy
                await asyncio.sleep(0.1)
        assert (found.leader, found.spare) == (leader, 0)

        await cluster.kill(second)
        found = await client.health(timeout=2)
        assert not found.is_healthy
        assert found.complaint
        assert (found.leader, found.voters, found.spare) == ("", (), 0)

        await cluster.restart(second)
        assert (await client.health()).is_healthy
        threaded = await asyncio.to_thread(sync.Client, cluster.seeds)
        try:
            assert (await asyncio.to_thread(threaded.health)).is_healthy
        finally:
            await asyncio.to_thread(threaded.close)
