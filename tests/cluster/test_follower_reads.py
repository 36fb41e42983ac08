"""Readers that ask followers: everything is there, in order, also when the leader is killed."""

from pathlib import Path

import pytest

from raftlog import Client
from raftlog.testing.cluster import LocalCluster

pytestmark = pytest.mark.asyncio


async def test_a_reader_with_a_bound_reads_from_followers(tmp_path: Path) -> None:
    """A bound of 0 sees what was acknowledged a moment ago; any bound sees all in the end."""
    with LocalCluster(tmp_path) as cluster:
        async with Client(cluster.seeds) as client:
            await client.topics.create("orders", queues=1)
            for number in range(20):
                await client.send("orders", b"%d" % number)
            wanted = [b"%d" % number for number in range(20)]
            for staleness in (0, 5.0):
                async with client.reader("orders", follow=False, staleness=staleness) as reader:
                    assert [message.value async for message in reader] == wanted
            leader = (await client.status()).node
            async with client.reader("orders", staleness=1.0) as reader:
                assert [each.value for each in await reader.poll(20, timeout=10)] == wanted
                cluster.nodes[leader].kill()
                await client.send("orders", b"after")
                found = []
                while not found:
                    found = await reader.poll(1, timeout=10)
                assert [each.value for each in found] == [b"after"]
