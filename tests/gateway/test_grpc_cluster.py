"""Real nodes, asked by a gRPC client that has the descriptor set and nothing else."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import grpc
import pytest

from raftlog.base.errors import (
    BadBatch,
    BadRequest,
    OffsetOutOfRange,
    OutcomeUnknown,
    RaftlogError,
    TopicExists,
    Unavailable,
)
from raftlog.base.ids import NodeId
from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.gateway.grpc.server import SHARD_KEY
from raftlog.gateway.grpc.statuses import typed_error
from raftlog.testing.bench.usage import usage_of
from raftlog.testing.cluster import LocalCluster
from raftlog.testing.processes import NodeProcess, local_addresses
from raftlog.wire.batch import encode_columns, records
from raftlog.wire.schema import client, topics
from tests.cluster.cluster_under_load import channel_to
from tests.gateway.broker_cluster import leader_and_follower, led
from tests.gateway.stubs import PATIENCE_S, Stubs, error_of

pytestmark = pytest.mark.asyncio
IDLE_S: Final = 2.0
IDLE_CPU_MAX: Final = 0.15
"""Of a core; with or without gRPC it is 0.01 for a leader on a quiet machine."""
IDLE_BYTES_MAX: Final = 150_000_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes for all of this module that does not harm them."""
    with LocalCluster(tmp_path_factory.mktemp("nodes"), grpc=True) as nodes:
        yield nodes
        nodes.check_alive()


async def queue_of(stubs: Stubs) -> int:
    """Return the queue of the topic of these tests; make it if need be."""
    asked = topics.CreateTopic(name="orders", settings=topics.TopicSettings(queues=1))
    try:
        made = await stubs.Create(asked, timeout=PATIENCE_S)
    except grpc.RpcError as error:
        if type(typed_error(error)) is not TopicExists:
            raise
        made = await stubs.Describe(topics.DescribeTopic(name="orders"), timeout=PATIENCE_S)
    queue: int = made.queues[0].queue
    return queue


async def appended(stubs: Stubs, batch: client.AppendBatch) -> client.BatchAppended:
    """Append, again while the outcome is unknown: the node learns last that its leader is dead."""
    while True:
        try:
            answer: client.BatchAppended = await stubs.Append(batch, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            if type(typed_error(error)) is not OutcomeUnknown:
                raise
        else:
            return answer


async def test_each_node_says_what_it_is(cluster: LocalCluster) -> None:
    """The question is not forwarded."""
    async with leader_and_follower(cluster) as (leader, follower):
        assert (await led(leader)).role == "leader"
        told = await led(follower)
        assert told.role == "follower"
        (address,) = [a.client for a in cluster.addresses if a.node == told.leader]
        assert told.leader_address == address


async def test_batches_go_in_and_out_unchanged_through_any_node(cluster: LocalCluster) -> None:
    """The largest ones, too."""
    large = encode_columns([bytes(BATCH_BYTES_MAX - 100)], timestamp_ms=5)
    async with leader_and_follower(cluster) as nodes:
        queue = await queue_of(nodes[0])
        for number, stubs in enumerate(nodes):
            small = encode_columns([b"a", b"b%d" % number], timestamp_ms=5)
            first, second = [
                await stubs.Append(
                    client.AppendBatch(queue=queue, batch=batch), timeout=PATIENCE_S
                )
                for batch in (small, large)
            ]
            assert second.base_offset == first.base_offset + 2
            assert (first.durability, first.duplicate) == ("fsync", False)
            for reader in nodes:
                asked = client.ReadBatches(
                    queue=queue,
                    offset=first.base_offset,
                    bytes_max=5 << 20,
                    wait_ms=10_000,
                    session_applied=second.index,
                )
                read = await reader.Read(asked, timeout=PATIENCE_S)
                assert list(read.base_offsets) == [first.base_offset, second.base_offset]
                assert [record.value for record in records(read.batches[0])] == [
                    b"a",
                    b"b%d" % number,
                ]
                assert read.batches[1][20:] == large[20:]
                end = await reader.GetEndOffset(client.EndOffset(queue=queue), timeout=PATIENCE_S)
                assert end.end_offset == second.base_offset + 1


async def test_a_mistake_is_told_with_its_class_by_any_node(cluster: LocalCluster) -> None:
    """It is not tried again: it would fail again."""
    async with leader_and_follower(cluster) as nodes:
        queue = await queue_of(nodes[0])
        for stubs in nodes:
            rubbish = client.AppendBatch(queue=queue, batch=b"rubbish")
            batch = stubs.Append(rubbish, timeout=PATIENCE_S)
            assert type(await error_of(batch)) is BadBatch
            asked = client.ReadBatches(queue=queue, offset=1 << 40)
            beyond = stubs.Read(asked, timeout=PATIENCE_S)
            assert type(await error_of(beyond)) is OffsetOutOfRange
            elsewhere = stubs.Append(
                client.AppendBatch(), metadata=((SHARD_KEY, "7"),), timeout=PATIENCE_S
            )
            assert type(await error_of(elsewhere)) is BadRequest


@pytest.mark.long
async def test_an_idle_node_costs_nothing_and_holds_little(cluster: LocalCluster) -> None:
    """With the threads of gRPC, and connections that ask nothing."""
    async with leader_and_follower(cluster):
        pids = [node.pid for node in cluster.nodes.values()]
        before = [usage_of(pid) for pid in pids]
        await asyncio.sleep(IDLE_S)
        for pid, then in zip(pids, before, strict=True):
            now = usage_of(pid)
            assert (now.cpu_s - then.cpu_s) / IDLE_S < IDLE_CPU_MAX
            assert now.resident_bytes < IDLE_BYTES_MAX


@pytest.mark.long
@pytest.mark.parametrize("loss", [NodeProcess.kill, NodeProcess.pause])
async def test_a_client_of_a_follower_survives_the_loss_of_the_leader(
    tmp_path: Path, loss: Callable[[NodeProcess], None]
) -> None:
    """It knows one node, and has not heard of leaders; then that node stops, cleanly.

    A paused leader resets no connection: what waits for it is given up when
    another one leads.
    """
    with LocalCluster(tmp_path, grpc=True) as nodes:
        async with leader_and_follower(nodes) as (_, follower):
            queue = await queue_of(follower)
            batch = client.AppendBatch(queue=queue, batch=encode_columns([b"a"], timestamp_ms=5))
            assert (await follower.Append(batch, timeout=PATIENCE_S)).base_offset == 0
            told = await led(follower)
            loss(nodes.nodes[NodeId(told.leader)])
            last = await appended(follower, batch)
            assert last.base_offset >= 1
            asked = client.ReadBatches(
                queue=queue,
                offset=last.base_offset + 1,
                wait_ms=60_000,
                session_applied=last.index,
            )
            polling = follower.Read(asked, timeout=60)
            waiting = asyncio.ensure_future(error_of(polling, changes=False))
            await led(follower, lambda status: status.counters["reads_waiting_size"] > 0)
            began = time.monotonic()
            follower_process = nodes.nodes[NodeId(told.node)]
            follower_process.terminate()
            error: RaftlogError = await waiting
            assert type(error) is Unavailable
            assert follower_process.wait() == 0
            assert time.monotonic() - began < 9.0


async def test_a_node_that_serves_no_grpc_does_not_load_it(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    """Neither its memory nor its threads."""
    with LocalCluster(tmp_path, local_addresses(1)) as alone:
        (address,) = alone.addresses
        await (await channel_to(address.client)).aclose()
        assert not loads_grpc(alone.nodes[address.node])
    async with leader_and_follower(cluster):
        assert all(loads_grpc(node) for node in cluster.nodes.values())


def loads_grpc(node: NodeProcess) -> bool:
    """Whether the library is mapped into the process of a node."""
    return "cygrpc" in Path(f"/proc/{node.pid}/maps").read_text()
