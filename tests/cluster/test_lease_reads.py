"""Leases among real processes: reads that cost no round, and none of them stale after a loss."""

from pathlib import Path

import pytest

from raftlog import Client
from raftlog.testing.cluster import LocalCluster

pytestmark = pytest.mark.asyncio


async def leased(client: Client) -> int:
    """Return how many reads the leader's lease has answered."""
    return (await client.status()).counters["leased_reads"]


async def end_of(client: Client) -> int:
    """Return where the queue ends, linearizable."""
    (queue,) = (await client.topics.describe("orders")).queues
    return queue.end_offset


@pytest.mark.long
async def test_a_leader_with_a_lease_answers_and_its_successor_knows_everything(
    tmp_path: Path,
) -> None:
    """Every end that is told includes every record that was acknowledged before."""
    with LocalCluster(tmp_path, settings=["lease_reads: true"]) as cluster:
        async with Client(cluster.seeds) as client:
            await client.topics.create("orders", queues=1)
            for number in range(1, 51):
                await client.send("orders", b"%d" % number)
                assert await end_of(client) == number
            assert await leased(client) > 25
            leader = (await client.status()).node
            await cluster.kill(leader)
            for number in range(51, 71):
                await client.send("orders", b"%d" % number)
                assert await end_of(client) == number


@pytest.mark.long
async def test_leases_are_off_unless_asked_for(tmp_path: Path) -> None:
    """Nobody's clock is trusted by default."""
    with LocalCluster(tmp_path) as cluster:
        async with Client(cluster.seeds) as client:
            await client.topics.create("orders", queues=1)
            await client.send("orders", b"1")
            assert await end_of(client) == 1
            assert await leased(client) == 0
