"""Commits of a consumer: what is not committed any more is said, never passed over (ruling 12)."""

import asyncio
from typing import Any, Final

import pytest

from raftlog.base.errors import Fenced
from raftlog.client.client import Client
from raftlog.wire.frame import Method
from tests.client.fake_cluster import fake_cluster, unanswered, until
from tests.client.test_consumer import committed, fill, take

pytestmark = pytest.mark.asyncio

BY_WORD: Final[dict[str, Any]] = {"auto_commit": False}


async def test_what_was_lost_before_it_was_committed_is_told_once() -> None:
    """Also when messages were asked for since; what is still owned is committed."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 20)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            await take(consumer, 20)
            await client.groups.seek("billing", "orders", to=4, queue=1)
            assert [message.offset for message in await take(consumer, 6)] == [*range(4, 10)]
            with pytest.raises(Fenced, match="queue 1 of topic 'orders'"):
                await consumer.commit()
            assert committed(cluster) == [10, 10]
            await consumer.commit()


async def test_a_message_from_before_a_seek_does_not_take_it_back() -> None:
    """It was handed out by an ownership that is over."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 10, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            messages = await take(consumer, 10)
            await client.groups.seek("billing", "orders", to=2)
            await until(lambda: consumer.status.generation == 2)
            with pytest.raises(Fenced):
                await consumer.commit(messages[9])
            assert committed(cluster) == [2]
            await take(consumer, 2)
            with pytest.raises(Fenced):
                await consumer.commit(messages[9])
            await consumer.commit(messages[3])
        assert committed(cluster) == [4]


async def test_one_queue_that_is_somebody_elses_does_not_hold_up_the_others() -> None:
    """Before the consumer has heard of it."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 20)
        cluster.fault(Method.GROUP_HEARTBEAT, unanswered)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            await take(consumer, 20)
            await client.groups.seek("billing", "orders", to=3, queue=0)
            with pytest.raises(Fenced):
                await consumer.commit()
            assert committed(cluster) == [3, 10]
            await take(consumer, 7)
            await consumer.commit()  # it was told already
        assert committed(cluster) == [10, 10]


async def test_a_queue_that_is_lost_while_a_commit_waits_is_told() -> None:
    """Schedule: the new generation's own commit was under way, and the other one found nothing."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 10, queues=1)
        async with client.consumer("billing", "orders", **BY_WORD) as consumer:
            messages = await take(consumer, 8)
            await consumer.commit(messages[3])
            cluster.fault(Method.GROUP_COMMIT, unanswered)
            await client.groups.seek("billing", "orders", to=0)
            await until(lambda: bool(cluster.late))
            one = asyncio.ensure_future(consumer.commit(messages[7]))
            await asyncio.sleep(0)
            cluster.late[0]()
            with pytest.raises(Fenced):
                await one
            assert committed(cluster) == [0]


async def test_a_commit_ahead_of_what_is_finished_is_not_taken_for_a_loss() -> None:
    """Schedule: the next generation committed what counted as finished, which was less."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 10, queues=1)
        async with client.consumer("billing", "orders", commit_interval=600.0) as consumer:
            messages = await consumer.poll(10)
            await consumer.commit(messages[4])
            await cluster.expire("billing", consumer.status.member)
            await until(lambda: consumer.status.rejoins == 1 and consumer.status.generation > 1)
            assert await consumer.poll(timeout=0.1) == []
