"""Seeks and ages of queue-style groups, with a loop and from threads."""

import asyncio
from datetime import timedelta

import pytest

from raftlog import sync
from raftlog.base.errors import (
    BadRequest,
    GroupNotFound,
    OffsetOutOfRange,
    StaleLease,
    TopicNotFound,
    WrongQueue,
)
from raftlog.client.client import Client
from raftlog.client.queue_group_infos import SoughtQueue
from tests.client.fake_cluster import fake_cluster
from tests.client.test_sync import cluster


async def send(client: Client, count: int) -> None:
    for number in range(count):
        await client.send("orders", b"%d" % number)


def test_a_group_goes_back_and_to_the_end() -> None:
    """A dry run says the same, and changes nothing."""

    async def run() -> None:
        async with fake_cluster(orders=1) as shard, Client(shard.seeds) as client:
            await send(client, 5)
            seek = client.queue_groups.seek
            async with client.queue_consumer("work", "orders") as consumer:
                first, second, third = await consumer.receive(3)
                await first.ack()
                expected = SoughtQueue("orders", 0, 3, 2, 5, 1, 1, 0, 0)
                assert await seek("work", "orders", to=2, dry_run=True) == [expected]
                assert (await client.queue_groups.describe("work")).in_flight == 2
                assert await seek("work", "orders", to=2) == [expected]
                assert expected.records == -1
                await second.ack()
                with pytest.raises(StaleLease):
                    await third.ack()
                assert [each.value for each in await consumer.receive(9)] == [b"2", b"3", b"4"]
                (sought,) = await seek("work", "orders", to="latest")
                assert (sought.after, sought.kept, sought.records) == (5, 3, 0)
                (sought,) = await seek("work", "orders", to={0: 1})
                assert (sought.after, sought.leased, sought.records) == (1, 3, -4)
                (sought,) = await seek("work", "orders", to=timedelta(hours=-1))
                assert sought.after == 0

    asyncio.run(run())


def test_where_it_can_not_go_is_told() -> None:
    """Beyond the end, nowhere, of nobody."""

    async def run() -> None:
        async with fake_cluster(orders=1, bills=1) as shard, Client(shard.seeds) as client:
            await client.queue_groups.open("work", "orders")
            cases: list[tuple[type[Exception], tuple[str, str], object]] = [
                (OffsetOutOfRange, ("work", "orders"), 1),
                (BadRequest, ("work", "orders"), {0: -1}),
                (WrongQueue, ("work", "orders"), {1: 0}),
                (TopicNotFound, ("work", "nothing"), 0),
                (BadRequest, ("work", "bills"), 0),
                (GroupNotFound, ("nobody", "orders"), 0),
                (ValueError, ("work", "orders"), "soon"),
            ]
            for error, names, to in cases:
                for dry_run in (True, False):
                    with pytest.raises(error):
                        await client.queue_groups.seek(*names, to=to, dry_run=dry_run)  # type: ignore[arg-type]

    asyncio.run(run())


def test_the_age_is_that_of_the_oldest_message_not_finished() -> None:
    """In flight, or never leased; zero when all is finished."""

    async def run() -> None:
        async with fake_cluster(orders=1) as shard, Client(shard.seeds) as client:
            await client.queue_groups.open("work", "orders")
            assert (await client.queue_groups.describe("work")).lag_time == timedelta(0)
            await send(client, 2)
            await asyncio.sleep(0.05)
            async with client.queue_consumer("work") as consumer:
                first, second = await consumer.receive(2)
                await second.ack()
                found = await client.queue_groups.describe("work")
                assert found.queues[0].oldest_offset == 0
                assert found.unread == 0
                assert found.lag_time >= timedelta(milliseconds=50)
                (listed,) = await client.queue_groups.list()
                assert listed.lag_time >= found.lag_time
                await first.ack()
                found = await client.queue_groups.describe("work")
                assert (found.queues[0].oldest_offset, found.lag_time) == (2, timedelta(0))

    asyncio.run(run())


def test_a_thread_seeks() -> None:
    """The same method."""
    with cluster(orders=1) as shard, sync.Client(shard.seeds) as client:
        client.send("orders", b"0")
        with client.queue_consumer("work", "orders") as consumer:
            for _ in range(2):
                (message,) = consumer.receive()
                message.ack()
                (sought,) = client.queue_groups.seek("work", "orders", to="earliest")
                assert (sought.before, sought.after) == (1, 0)
