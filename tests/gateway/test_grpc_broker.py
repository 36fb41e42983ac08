"""What a program in another language does all day, with gRPC and through any node.

Topics, idempotent producers and groups, end to end: the stubs come from the
descriptor set, the record batches are encoded by the program, and nothing else
of raftlog's client is used.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

import pytest
import pytest_asyncio
from google.protobuf.message import Message

from raftlog.base.errors import (
    Fenced,
    GroupInUse,
    OutOfOrder,
    RaftlogError,
    TopicExists,
    TopicNotFound,
    UnknownProducer,
)
from raftlog.testing.cluster import LocalCluster
from raftlog.wire.batch import Producer, encode_columns, records
from raftlog.wire.schema import client, groups, producers, topics
from tests.gateway.broker_cluster import leader_and_follower, led
from tests.gateway.stubs import PATIENCE_S, Stubs, error_of

pytestmark = pytest.mark.asyncio
THROUGH: Final = ("leader", "follower")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes for all of this module."""
    with LocalCluster(tmp_path_factory.mktemp("nodes"), grpc=True) as nodes:
        yield nodes
        nodes.check_alive()


class Program:
    """A client in another language: it knows one node."""

    def __init__(self, stubs: Stubs, through: str) -> None:
        self.stubs = stubs
        self.name = through
        """Of the topic, group and members that it uses."""

    async def ask(self, rpc: str, message: Message) -> Any:
        """Call an rpc."""
        return await getattr(self.stubs, rpc)(message, timeout=PATIENCE_S)

    async def refused(self, rpc: str, message: Message) -> RaftlogError:
        """Call an rpc that fails; return how."""
        return await error_of(self.ask(rpc, message))

    async def create(self, *, queues: int, name: str = "") -> list[int]:
        """Create a topic; return the numbers of its queues."""
        settings = topics.TopicSettings(queues=queues)
        asked = topics.CreateTopic(name=name or self.name, settings=settings)
        return [row.queue for row in (await self.ask("Create", asked)).queues]

    async def produce(
        self, queue: int, producer: int, sequence: int, values: Sequence[bytes], epoch: int = 0
    ) -> client.BatchAppended:
        """Append one batch of an idempotent producer."""
        answer: client.BatchAppended = await self.ask(
            "Append", append(queue, producer, sequence, values, epoch)
        )
        return answer


def append(
    queue: int, producer: int, sequence: int, values: Sequence[bytes], epoch: int = 0
) -> client.AppendBatch:
    who = Producer(id=producer, epoch=epoch, base_sequence=sequence)
    return client.AppendBatch(
        queue=queue, batch=encode_columns(values, timestamp_ms=5, producer=who)
    )


@pytest_asyncio.fixture(params=THROUGH)
async def program(cluster: LocalCluster, request: pytest.FixtureRequest) -> AsyncIterator[Program]:
    """Give a program that knows the leader, and then one that knows another node."""
    async with leader_and_follower(cluster) as (leader, follower):
        stubs = leader if request.param == "leader" else follower
        yield Program(stubs, f"{request.node.originalname[5:40]}-{request.param}")


async def test_a_topic_is_made_described_altered_listed_and_deleted(program: Program) -> None:
    """And each mistake is told with its class and its facts."""
    queues = await program.create(queues=2)
    assert len(set(queues)) == 2
    again = topics.CreateTopic(name=program.name)
    assert type(await program.refused("Create", again)) is TopicExists
    alter = topics.AlterTopic(
        name=program.name, settings=topics.TopicSettings(queues=3, retention_ms=60_000)
    )
    assert (await program.ask("Alter", alter)).settings.retention_ms == 60_000
    described = await program.ask("Describe", topics.DescribeTopic(name=program.name))
    assert [row.queue for row in described.queues][:2] == queues
    assert (len(described.queues), described.settings.writable) == (3, True)
    listed = await program.ask("List", topics.ListTopics(count_max=1_000))
    assert program.name in [row.name for row in listed.topics]
    missing = topics.DescribeTopic(name=program.name + "x")
    told = await program.refused("Describe", missing)
    assert isinstance(told, TopicNotFound)
    assert told.nearest.startswith(program.name[:20])
    await program.ask("Delete", topics.DeleteTopic(name=program.name))
    gone = await program.refused("Describe", topics.DescribeTopic(name=program.name))
    assert type(gone) is TopicNotFound


async def test_a_producer_s_batch_is_stored_once_however_often_it_is_sent(
    program: Program,
) -> None:
    """The table that removes duplicates is replicated, so any node will do."""
    (queue,) = await program.create(queues=1)
    producer = (await program.ask("Init", producers.InitProducer())).producer
    first = await program.produce(queue, producer, 0, [b"a", b"b"])
    assert (first.base_offset, first.duplicate, first.durability) == (0, False, "fsync")
    described = await program.ask("Describe", topics.DescribeTopic(name=program.name))
    assert described.queues[0].bytes > 0
    assert not described.HasField("hold"), "no range of this log is full yet"
    again = await program.produce(queue, producer, 0, [b"a", b"b"])
    assert (again.base_offset, again.term, again.index) == (0, first.term, first.index)
    assert again.duplicate
    second = await program.produce(queue, producer, 2, [b"c"])
    assert second.base_offset == 2
    gap = await program.refused("Append", append(queue, producer, 9, [b"z"]))
    assert isinstance(gap, OutOfOrder)
    assert gap.expected == 3
    nobody = await program.refused("Append", append(queue, producer + 1, 7, [b"z"]))
    assert type(nobody) is UnknownProducer
    asked = client.ReadBatches(
        queue=queue, bytes_max=1 << 20, wait_ms=5_000, session_applied=second.index
    )
    read = await program.ask("Read", asked)
    values = [record.value for batch in read.batches for record in records(batch)]
    assert (values, list(read.base_offsets)) == ([b"a", b"b", b"c"], [0, 2])
    assert (read.start_offset, read.end_offset) == (0, 3)
    bounded = client.ReadBatches(queue=queue, bytes_max=1 << 20, staleness_ms=0)
    assert (await program.ask("Read", bounded)).end_offset == 3, "whichever node it is"
    end = await program.ask("GetEndOffset", client.EndOffset(queue=queue))
    assert end.end_offset == 3
    found = await program.ask("Find", client.FindOffset(queue=queue, log_time_ms=1))
    assert found.offset == 0


async def test_a_fence_tells_what_was_stored_and_shuts_the_old_epoch_out(
    program: Program,
) -> None:
    """How a program resolves an unknown outcome (ruling 10)."""
    (queue,) = await program.create(queues=1)
    producer = (await program.ask("Init", producers.InitProducer())).producer
    await program.produce(queue, producer, 0, [b"a", b"b"])
    fence = producers.FenceProducer(queue=queue, producer=producer, epoch=1)
    told = await program.ask("Fence", fence)
    assert (told.next_sequence, told.durability) == (2, "fsync")
    assert [(row.base_sequence, row.count) for row in told.remembered] == [(0, 2)]
    late = await program.refused("Append", append(queue, producer, 2, [b"late"]))
    assert type(late) is Fenced
    assert (await program.produce(queue, producer, 0, [b"c"], epoch=1)).base_offset == 2


async def test_two_members_share_a_topic_and_go_on_from_what_was_committed(
    program: Program,
) -> None:
    """Join, heartbeat, claim, commit, leave: each by any node."""
    topic = await program.create(queues=2)
    names = {"group": program.name}
    join = groups.JoinGroup(
        **names, member="m1", topics=[program.name], session_ms=30_000, client="a program"
    )
    alone = await program.ask("Join", join)
    assert sorted(row.queue for row in alone.queues) == sorted(topic)

    poll = groups.HeartbeatGroup(**names, member="m1", generation=alone.generation, wait_ms=10_000)
    waiting = asyncio.ensure_future(program.ask("Heartbeat", poll))
    join.member = "m2"
    joined = await program.ask("Join", join)
    shared = await waiting  # answered because a second one joined, not because time is up
    assert shared.generation == joined.generation == alone.generation + 1
    (queue,) = [row.queue for row in shared.queues]
    assert {queue, joined.queues[0].queue} == set(topic)

    member = {**names, "member": "m1", "generation": shared.generation}
    claimed = await program.ask("Claim", groups.ClaimQueue(**member, queue=queue))
    assert (claimed.committed, claimed.start_offset, claimed.end_offset) == (-1, 0, 0)
    await program.produce(queue, 0, 0, [b"a", b"b"])
    commit = groups.CommitOffsets(**member, offsets=[groups.QueueOffset(queue=queue, offset=1)])
    await program.ask("Commit", commit)
    old = groups.CommitOffsets(
        **names, member="m2", generation=shared.generation, offsets=commit.offsets
    )
    assert type(await program.refused("Commit", old)) is Fenced

    described = await program.ask("GroupDescribe", groups.DescribeGroup(**names))
    assert {row.member for row in described.members} == {"m1", "m2"}
    assert {row.queue: row.committed for row in described.queues}[queue] == 1
    listed = await program.ask("GroupList", groups.ListGroups(count_max=1_000))
    assert program.name in [row.group for row in listed.groups]
    in_use = await program.refused("GroupDelete", groups.DeleteGroup(**names))
    assert type(in_use) is GroupInUse

    await program.ask("Leave", groups.LeaveGroup(**names, member="m1"))
    await program.ask("Leave", groups.LeaveGroup(**names, member="m2"))
    seek = groups.SeekGroup(**names, offsets=[groups.QueueOffset(queue=queue, offset=0)])
    assert (await program.ask("Seek", seek)).generation > shared.generation
    await program.ask("GroupDelete", groups.DeleteGroup(**names))


async def test_leadership_is_handed_over_on_request(cluster: LocalCluster) -> None:
    """The request of a client that knows a follower reaches the leader."""
    async with leader_and_follower(cluster) as (leader, follower):
        target = (await follower.Status(client.GetStatus(), timeout=PATIENCE_S)).node
        await follower.Transfer(client.TransferLeader(target=target), timeout=PATIENCE_S)
        await led(leader, lambda status: status.leader == target)
