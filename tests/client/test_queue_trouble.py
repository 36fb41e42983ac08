"""The consumer of a queue-style group in trouble: it goes on, says so, and keeps what it has."""

import asyncio

import pytest

from raftlog.base.errors import BadRequest
from raftlog.client.client import Client
from raftlog.client.settling import How
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, fake_cluster
from tests.client.test_queue_consumer import send

pytestmark = pytest.mark.asyncio


def reasons(cluster: FakeCluster) -> list[str]:
    """Return why each message in flight came back last."""
    return [row.reason for row in cluster.machine.leasing.flights.table.after(None)]


def left_ms(cluster: FakeCluster) -> list[int]:
    """Return how long the lease of each message in flight lasts still."""
    rows = cluster.machine.leasing.flights.table.after(None)
    return [row.due_ms - cluster.machine.log_time_ms for row in rows]


async def test_a_failure_whose_text_is_none_gives_its_message_back() -> None:
    """Half of a surrogate pair, as in names of files: its handler never ended, nor did ``run``.

    Schedule: the handler raises; the request that is to say so can't be encoded; the task that
    was to send it died, and whoever waited for its answer waited for ever.
    """
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await send(client, b"v")
        async with client.queue_consumer("work", "orders", retry=[0]) as consumer:
            (message,) = await consumer.receive()
            with pytest.raises(FileNotFoundError):
                async with asyncio.timeout(3), message.process():
                    raise FileNotFoundError("no \udcff.csv")
            assert reasons(cluster) == ["FileNotFoundError: no \\udcff.csv"]
            (again,) = await consumer.receive(wait=5)
            assert again.attempts == 2
            async with asyncio.timeout(3):
                await again.reject("\ud83d" * 200)
            assert reasons(cluster) == [("\\ud83d" * 200)[:200]]


async def test_what_can_not_be_said_is_an_error_and_no_wait_without_end() -> None:
    """And what is said afterwards is said."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await send(client, b"v")
        async with client.queue_consumer("work", "orders", retry=[0]) as consumer:
            (message,) = await consumer.receive()
            how = How(Method.QUEUE_RETURN, reason="\udcff")
            with pytest.raises(BadRequest):
                await asyncio.wait_for(consumer._settling.say(how, message.held), 3)
            for length in (-1, 0, 0.5, float("inf"), float("nan"), 12 * 3600 + 1):
                with pytest.raises(BadRequest, match="1 s to 12 h"):
                    await asyncio.wait_for(message.extend(length), 3)
                with pytest.raises(BadRequest, match="1 s to 12 h"):
                    client.queue_consumer("work", lease=length)
            await message.ack()
