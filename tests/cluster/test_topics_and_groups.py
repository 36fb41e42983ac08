"""Topics, producers and groups on real processes: what was promised holds through kill -9.

One story, because each step needs what the one before it left: a producer whose
reply was lost, a leader that is killed, a consumer that was given up and wakes,
and a restart of everything.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import pytest
import pytest_asyncio
from google.protobuf.message import Message

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    Fenced,
    NotLeader,
    OutcomeUnknown,
    RaftlogError,
    Retriable,
    TopicNotFound,
    Unavailable,
)
from raftlog.base.ids import NodeId
from raftlog.broker.index import RANGE_BODY_BYTES
from raftlog.client.channel import Channel
from raftlog.testing.cluster import LocalCluster
from raftlog.wire.address import parse_address
from raftlog.wire.batch import Producer, encode_columns, records
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, groups, producers, topics
from tests.cluster.cluster_under_load import PATIENCE_S, ended

pytestmark = pytest.mark.asyncio

M = TypeVar("M", bound=Message)
LARGE: Final = bytes(range(256)) * 14_000
"""A value of 3.5 MB: few of them fill a range of the log."""


class Asker:
    """Asks the leader, whoever that is by now, until it answers."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self._channel: Channel | None = None
        self._next = 0

    async def ask(
        self, method: Method, message: Message, answer: type[M], payload: Sequence[Buffer] = ()
    ) -> M:
        """Ask; a refusal is raised, a missing leader is looked for."""
        return (await self.ask_both(method, message, answer, payload))[0]

    async def ask_both(
        self, method: Method, message: Message, answer: type[M], payload: Sequence[Buffer] = ()
    ) -> tuple[M, Buffer]:
        """Ask; return the payload of the answer, too."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    channel = await self._connect()
                    return await channel.call(method, message, answer, payload=payload)
                except (Retriable, OutcomeUnknown) as error:  # all of it is harmless to repeat
                    await self._turn_to(error)

    async def _connect(self) -> Channel:
        if self._channel is None:
            seeds = self.cluster.seeds
            self._next += 1
            self._channel = await Channel.connect(*parse_address(seeds[self._next % len(seeds)]))
        return self._channel

    async def _turn_to(self, error: RaftlogError) -> None:
        await self.aclose()
        if isinstance(error, NotLeader) and error.leader_address:
            try:
                self._channel = await Channel.connect(*parse_address(error.leader_address))
            except Unavailable:
                await asyncio.sleep(0.05)
        else:
            await asyncio.sleep(0.05)

    async def aclose(self) -> None:
        """Close the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.aclose()

    async def status(self) -> client.NodeStatus:
        """Return the status of the node that leads."""
        while True:
            status = await self.ask(Method.STATUS, client.GetStatus(space=True), client.NodeStatus)
            if status.role == "leader":
                return status
            await self.aclose()
            await asyncio.sleep(0.05)

    async def saved(self) -> None:
        """Wait until every node has a snapshot on its disk."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.snapshots()) < len(self.cluster.nodes):  # noqa: ASYNC110  (processes)
                await asyncio.sleep(0.05)

    def snapshots(self) -> list[Path]:
        """Return the finished snapshots of all nodes."""
        return list(self.cluster.directory.glob("data/*/shards/0/snapshot/*.tables"))

    # -- the requests of the story

    async def append(
        self, queue: int, value: bytes, producer: int, sequence: int
    ) -> client.BatchAppended:
        """Append one record of a producer."""
        batch = encode_columns(
            [value], timestamp_ms=5, producer=Producer(producer, base_sequence=sequence)
        )
        asked = client.AppendBatch(queue=queue)
        return await self.ask(Method.APPEND, asked, client.BatchAppended, [batch])

    async def values(self, queue: int) -> list[bytes]:
        """Read everything that is in a queue."""
        asked = client.ReadBatches(queue=queue, offset=0, bytes_max=1 << 20)
        answer, payload = await self.ask_both(Method.READ, asked, client.BatchesRead)
        found, position = [], 0
        for length in answer.lengths:
            batch = bytes(payload[position : position + length])
            found += [record.value or b"" for record in records(batch)]
            position += length
        return found

    async def join(self, member: str) -> groups.GroupAssignment:
        """Join the group ``billing``."""
        asked = groups.JoinGroup(
            group="billing", member=member, topics=["orders"], session_ms=60_000
        )
        return await self.ask(Method.GROUP_JOIN, asked, groups.GroupAssignment)

    async def claim(self, member: str, generation: int, queue: int) -> groups.QueueClaimed:
        """Claim a queue for it."""
        asked = groups.ClaimQueue(
            group="billing", member=member, generation=generation, queue=queue
        )
        return await self.ask(Method.GROUP_CLAIM, asked, groups.QueueClaimed)

    async def commit(self, member: str, generation: int, queue: int, offset: int) -> None:
        """Commit an offset for it."""
        asked = groups.CommitOffsets(
            group="billing",
            member=member,
            generation=generation,
            offsets=[groups.QueueOffset(queue=queue, offset=offset)],
        )
        await self.ask(Method.GROUP_COMMIT, asked, groups.OffsetsCommitted)

    async def describe(self) -> groups.GroupDescription:
        """Describe the group."""
        asked = groups.DescribeGroup(group="billing")
        return await self.ask(Method.GROUP_DESCRIBE, asked, groups.GroupDescription)


@pytest_asyncio.fixture
async def asker(tmp_path: Path) -> AsyncIterator[Asker]:
    """Three nodes, and who asks them."""
    with LocalCluster(tmp_path) as cluster:
        asker = Asker(cluster)
        try:
            yield asker
        finally:
            await asker.aclose()


async def test_nothing_is_doubled_lost_or_taken_by_a_zombie(asker: Asker) -> None:
    """Through a lost reply, kill -9 of the leader, a rebalance and a restart of all nodes."""
    first, second = await make_topic(asker)
    producer = await send_through_a_kill(asker, first)
    generation = await hand_a_queue_over(asker, first, second)

    await asker.aclose()
    asker.cluster.stop()
    for node in asker.cluster.nodes.values():
        node.start()

    described = await asker.describe()
    assert described.generation == generation
    assert [member.member for member in described.members] == ["m0", "m1"]
    offsets = {row.queue: (row.owner, row.committed, row.end_offset) for row in described.queues}
    assert offsets == {first: ("m0", 2, 3), second: ("m1", -1, 0)}
    await asker.commit("m0", generation, first, 3)
    kept = await asker.append(first, b"three", producer, 2)
    assert (kept.duplicate, kept.base_offset) == (True, 2)
    assert await asker.values(first) == [b"one", b"two", b"three"]


async def test_a_restart_goes_on_from_a_snapshot(asker: Asker) -> None:
    """A range of the log is full, its tables are on disk; topics and offsets come back with it."""
    first, _ = await make_topic(asker)
    count = RANGE_BODY_BYTES // len(LARGE) + 2
    batch = encode_columns([LARGE], timestamp_ms=5)
    for _ in range(count):
        asked = client.AppendBatch(queue=first)
        await asker.ask(Method.APPEND, asked, client.BatchAppended, [batch])
    await asker.saved()

    await asker.aclose()
    asker.cluster.stop()
    for node in asker.cluster.nodes.values():
        node.start()
    describe = topics.DescribeTopic(name="orders")
    described = await asker.ask(Method.TOPIC_DESCRIBE, describe, topics.TopicDescription)
    assert [row.end_offset for row in described.queues] == [count, 0]
    assert [row.bytes // len(LARGE) for row in described.queues] == [count, 0]
    hold = described.hold
    assert (hold.first_index, hold.queues, hold.topic, hold.place) == (1, 1, "orders", 0)
    assert (hold.retention_ms, list(described.holding)) == (72 * 3_600_000, [0])
    status = await asker.status()
    assert (status.space.hold, status.space.largest[0].topic) == (hold, "orders")
    counters = status.counters
    assert (counters["index_ranges_size"], counters["snapshots_written"]) == (1, 0)  # no replay
    assert await asker.values(first) == [LARGE]
    asked = client.AppendBatch(queue=first)
    stored = await asker.ask(Method.APPEND, asked, client.BatchAppended, [batch])
    assert stored.base_offset == count


async def make_topic(asker: Asker) -> tuple[int, int]:
    """Make the topic and return its queues; a name that is nearly right is told so."""
    create = topics.CreateTopic(name="orders", settings=topics.TopicSettings(queues=2))
    topic = await asker.ask(Method.TOPIC_CREATE, create, topics.TopicDescription)
    describe = topics.DescribeTopic(name="order")
    with pytest.raises(TopicNotFound) as not_found:
        await asker.ask(Method.TOPIC_DESCRIBE, describe, topics.TopicDescription)
    assert not_found.value.nearest == "orders"
    first, second = topic.queues
    return first.queue, second.queue


async def send_through_a_kill(asker: Asker, queue: int) -> int:
    """Send again what was stored, to its leader and to the next one; return the producer."""
    begin = producers.InitProducer()
    begun = await asker.ask(Method.PRODUCER_INIT, begin, producers.ProducerBegun)
    producer = begun.producer
    original = await asker.append(queue, b"one", producer, 0)
    await asker.append(queue, b"two", producer, 1)
    assert not original.duplicate
    assert_first_receipt(await asker.append(queue, b"one", producer, 0), original)

    leader = asker.cluster.nodes[NodeId((await asker.status()).node)]
    leader.kill()
    await ended(leader)
    assert_first_receipt(await asker.append(queue, b"one", producer, 0), original)
    await asker.append(queue, b"three", producer, 2)
    assert await asker.values(queue) == [b"one", b"two", b"three"]
    leader.start()
    return producer


async def hand_a_queue_over(asker: Asker, first: int, second: int) -> int:
    """Let a second member take a queue from the first, which then wakes; return the generation."""
    alone = await asker.join("m1")
    assert [queue.queue for queue in alone.queues] == [first, second]
    claimed = await asker.claim("m1", alone.generation, first)
    assert (claimed.committed, claimed.end_offset) == (-1, 3)
    await asker.commit("m1", alone.generation, first, 2)

    shared = await asker.join("m0")  # before m1 in the order of names: it gets the first queue
    assert [queue.queue for queue in shared.queues] == [first]
    assert (await asker.claim("m0", shared.generation, first)).committed == 2
    with pytest.raises(Fenced):
        await asker.commit("m1", alone.generation, first, 3)
    return shared.generation


def assert_first_receipt(again: client.BatchAppended, first: client.BatchAppended) -> None:
    """Offset, term and index are the first receipt's for ever."""
    assert again.duplicate
    assert (again.base_offset, again.term, again.index) == (
        *(first.base_offset, first.term),
        first.index,
    )
