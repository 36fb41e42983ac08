"""Two shards in each process: nothing of the one is in the other.

The same topic, the same queue number, the same log indexes in both; other
records, other leaders, other terms. Whatever dropped the shard's id on its way
(a message, a directory, a table, a request) would mix them.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from raftlog.client.asking import Asker
from raftlog.client.routing import Router
from raftlog.testing.cluster import LocalCluster
from raftlog.wire.batch import encode_columns, records
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, topics

pytestmark = pytest.mark.asyncio

SHARDS: Final = (0, 1)
COUNT: Final = 30


class Side:
    """One shard, asked by its number."""

    def __init__(self, cluster: LocalCluster, shard: int) -> None:
        self.shard = shard
        self.router = Router(cluster.seeds, shard=shard)
        self.asker = Asker(self.router, shard=shard, timeout_s=20)

    async def create(self) -> int:
        """Make the topic; return its queue's number."""
        made, _ = await self.asker.ask(
            Method.TOPIC_CREATE,
            topics.CreateTopic(name="orders", settings=topics.TopicSettings(queues=1)),
            topics.TopicDescription,
        )
        return made.queues[0].queue

    async def append(self, queue: int, first: int, count: int) -> None:
        """Append records that name their shard, one batch each."""
        channel = await self.router.find(20)
        for number in range(first, first + count):
            batch = encode_columns([b"%d/%d" % (self.shard, number)], timestamp_ms=5)
            await channel.call(
                Method.APPEND,
                client.AppendBatch(queue=queue),
                client.BatchAppended,
                payload=[batch],
                shard=self.shard,
                timeout_s=20,
            )

    async def read(self, queue: int) -> list[bytes]:
        """Read everything."""
        answer, payload = await self.asker.ask(
            Method.READ,
            client.ReadBatches(queue=queue, bytes_max=1 << 20, staleness_ms=0),
            client.BatchesRead,
        )
        found, position = [], 0
        for length in answer.lengths:
            batch = bytes(payload[position : position + length])
            found.extend(record.value or b"" for record in records(batch))
            position += length
        return found

    async def status(self) -> client.NodeStatus:
        """Ask the leader."""
        status, _ = await self.asker.ask(Method.STATUS, client.GetStatus(), client.NodeStatus)
        return status

    async def hand_over(self) -> str:
        """Let another node lead; return which."""
        before = (await self.status()).leader
        await self.asker.ask(
            Method.TRANSFER, client.TransferLeader(), client.TransferStarted, repeats=True
        )
        async with asyncio.timeout(20):
            while (leader := (await self.status()).leader) in ("", before):
                self.router.channel = None
                await asyncio.sleep(0.05)
        return leader


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    with LocalCluster(tmp_path, settings=("shards: 2", "segment_mib: 8")) as cluster:
        yield cluster


@pytest.mark.long
async def test_two_shards_share_a_process_and_nothing_else(cluster: LocalCluster) -> None:
    """Through a hand-over of one, the kill of its leader, and a restart of everything."""
    sides = [Side(cluster, shard) for shard in SHARDS]
    try:
        queues = [await side.create() for side in sides]
        assert queues[0] == queues[1]
        for side, queue in zip(sides, queues, strict=True):
            await side.append(queue, 0, COUNT + side.shard)
        zero = await sides[0].status()
        leader = await sides[1].hand_over()
        if leader == zero.leader:
            leader = await sides[1].hand_over()
        assert (await sides[0].status()).term == zero.term
        assert (await sides[1].status()).term > 1

        cluster.nodes[leader].kill()
        for side, queue in zip(sides, queues, strict=True):
            side.router.channel = None if side.shard else side.router.channel
            await side.append(queue, COUNT + side.shard, 1)
            wanted = [b"%d/%d" % (side.shard, n) for n in range(COUNT + side.shard + 1)]
            assert await side.read(queue) == wanted
        assert (await sides[0].status()).term == zero.term
    finally:
        for side in sides:
            await side.router.aclose()


@pytest.mark.long
async def test_each_shard_has_a_folder_and_comes_back_with_its_own(tmp_path: Path) -> None:
    """One process, stopped and started again."""
    settings = ("shards: 2", "segment_mib: 8")
    addresses = []
    for again in (False, True):
        with LocalCluster(tmp_path, addresses, settings, nodes=1) as cluster:
            addresses = cluster.addresses
            for shard in SHARDS:
                side = Side(cluster, shard)
                try:
                    if not again:
                        await side.append(await side.create(), 0, 3 + shard)
                    assert len(await side.read(1)) == 3 + shard
                finally:
                    await side.router.aclose()
    shards = tmp_path / "data" / "n1" / "shards"
    assert sorted(path.name for path in shards.iterdir()) == ["0", "1"]
    logs = [(shards / str(shard) / "log").glob("*.seg") for shard in SHARDS]
    texts = [b"".join(path.read_bytes() for path in log) for log in logs]
    for shard, text in enumerate(texts):
        assert b"%d/2" % shard in text
        assert b"%d/2" % (1 - shard) not in text
