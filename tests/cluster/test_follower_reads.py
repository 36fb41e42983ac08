"""Readers and groups that ask followers: all is there, in order, also when a node is killed."""

import asyncio
from pathlib import Path

import pytest

from raftlog import Client
from raftlog.base.errors import Unavailable
from raftlog.base.ids import NodeId
from raftlog.client.consumer import Consumer
from raftlog.client.receipts import Message
from raftlog.client.routing import ask_status
from raftlog.testing.cluster import LocalCluster

pytestmark = pytest.mark.asyncio


@pytest.mark.long
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


@pytest.mark.long
async def test_a_group_with_a_bound_reads_from_followers(tmp_path: Path) -> None:
    """Its position is the leader's: a second member goes on where the first one has committed."""
    with LocalCluster(tmp_path) as cluster:
        async with Client(cluster.seeds) as client:
            await client.topics.create("orders", queues=1)
            for number in range(20):
                await client.send("orders", b"%d" % number)
            async with client.consumer("billing", "orders", staleness=5.0) as consumer:
                found = await _take(consumer, 10)
                await consumer.commit()
            before = await _reads(cluster)
            leader = (await client.status()).node
            async with client.consumer("billing", "orders", staleness=0) as consumer:
                found += await _take(consumer, 10)
                read = {
                    node: count - before[node]
                    for node, count in (await _reads(cluster)).items()
                    if count > before[node]
                }
                assert read
                assert leader not in read
                # One only: a late read of the consumer before may be counted at the other one.
                cluster.nodes[NodeId(max(read, key=read.__getitem__))].kill()
                await client.send("orders", b"20")
                found += await _take(consumer, 1)
            assert [each.value for each in found] == [b"%d" % number for number in range(21)]


async def _take(consumer: Consumer, count: int) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await consumer.poll(count - len(found), timeout=1.0)
    return found


async def _reads(cluster: LocalCluster) -> dict[str, int]:
    """Return how many reads each node has served."""
    while True:
        try:
            answers = [await ask_status(address) for address in cluster.seeds]
            break
        except Unavailable:  # two nodes are enough to serve; the third one may start still
            await asyncio.sleep(0.05)
    return {answer.node: answer.counters["reads"] for answer in answers}
