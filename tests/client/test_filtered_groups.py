"""Consumers of queue-style groups with a filter, with a loop and from threads."""

import asyncio

import pytest

from raftlog import sync
from raftlog.base.errors import BadFilter, BadRequest, GroupNotFound, SubscriptionConflict
from raftlog.client.client import Client
from raftlog.client.queue_group_infos import QueueSubscription
from raftlog.wire.frame import Method
from tests.client.fake_cluster import answer_lost, fake_cluster
from tests.client.test_sync import cluster


async def send(client: Client, *tags: str) -> None:
    for number, tag in enumerate(tags):
        headers = {"n": b"%d" % number}
        await client.send("orders", b"%d" % number, tag=tag, headers=headers)


def test_a_consumer_gets_what_it_wants_and_no_more() -> None:
    """By tag and by header, also when answers are lost."""

    async def run() -> None:
        async with fake_cluster(2, orders=1) as shard, Client(shard.seeds) as client:
            await send(client, "a", "b", "a", "a", "b")
            shard.fault(Method.QUEUE_OPEN, answer_lost)
            shard.fault(Method.QUEUE_RECEIVE, answer_lost)
            async with client.queue_consumer(
                "work", "orders", tags=["a"], filter="n > 0"
            ) as consumer:
                got = await consumer.receive(9)
                assert [each.value for each in got] == [b"2", b"3"]
                for each in got:
                    await each.ack()
                assert await consumer.receive(9, wait=0) == []
            found = await client.queue_groups.describe("work")
            assert (found.unread, found.in_flight, found.passed) == (0, 0, 3)
            wanted = QueueSubscription(("orders",), "n > 0", ("a",), 1, by_hand=False)
            assert found.subscription == wanted

    asyncio.run(run())


def test_who_expects_something_else_is_refused_until_its_version_is_higher() -> None:
    """And whoever says nothing takes what there is."""

    async def run() -> None:
        async with fake_cluster(orders=1) as shard, Client(shard.seeds) as client:
            async with client.queue_consumer("work", "orders", tags=["a"], lease=60):
                pass
            async with client.queue_consumer("work") as consumer:
                assert consumer.lease_s == 60
            for options in ({}, {"tags": ["b"]}, {"tags": ["a"], "lease": 30}):
                with pytest.raises(SubscriptionConflict, match=r"reads orders \(tags a\)"):
                    await client.queue_consumer("work", "orders", **options).__aenter__()  # type: ignore[arg-type]
            async with client.queue_consumer("work", "orders", tags=["b"], version=2):
                found = await client.queue_groups.describe("work")
                assert (found.subscription.tags, found.subscription.version) == (("b",), 2)

    asyncio.run(run())


def test_by_hand_it_is_changed_for_all_and_stays() -> None:
    """A consumer that runs is given what the group wants by then."""

    async def run() -> None:
        async with fake_cluster(orders=1) as shard, Client(shard.seeds) as client:
            async with client.queue_consumer("work", "orders", tags=["a"]) as consumer:
                waiting = asyncio.create_task(consumer.receive())
                assert await client.queue_groups.subscribe("work", "orders", tags=["b"]) == 2
                assert await client.queue_groups.subscribe("work", "orders", tags=["b"]) == 2
                await send(client, "a", "b")
                (message,) = await waiting
                assert message.value == b"1"
            with pytest.raises(SubscriptionConflict, match="by hand"):
                await client.queue_consumer("work", "orders", version=9).__aenter__()
            with pytest.raises(SubscriptionConflict, match="at version 2"):
                await client.queue_groups.subscribe("work", "orders", version=1)
            opened = await client.queue_groups.open("work", attempts=3)
            assert (opened.subscription.tags, opened.subscription.version) == (("b",), 3)

    asyncio.run(run())


def test_mistakes_are_told() -> None:
    """A filter that does not parse before anything is asked."""

    async def run() -> None:
        async with fake_cluster(orders=1) as shard, Client(shard.seeds) as client:
            with pytest.raises(BadFilter):
                client.queue_consumer("work", "orders", filter="n >")
            with pytest.raises(BadRequest, match="version -1"):
                client.queue_consumer("work", "orders", version=-1)
            with pytest.raises(BadFilter):
                await client.queue_groups.subscribe("work", "orders", filter="n >")
            with pytest.raises(GroupNotFound):
                await client.queue_groups.subscribe("work", "orders")
            with pytest.raises(BadRequest):
                await client.queue_groups.subscribe("work", ())

    asyncio.run(run())


def test_a_thread_receives_through_a_filter() -> None:
    """The same options, and the same errors."""
    with cluster(orders=1) as shard, sync.Client(shard.seeds) as client:
        for number in range(4):
            client.send("orders", b"%d" % number, tag="ab"[number % 2])
        with client.queue_consumer("work", "orders", tags=["b"]) as consumer:
            found = consumer.receive(9)
            assert [each.value for each in found] == [b"1", b"3"]
        assert client.queue_groups.subscribe("work", "orders", tags=["a"]) == 2
        with pytest.raises(SubscriptionConflict), client.queue_consumer("work", "orders"):
            pass
