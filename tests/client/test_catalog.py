"""The catalog: a question that is shared takes nobody's time away, and nobody else's."""

import asyncio

import pytest

from raftlog.base.errors import TopicNotFound, Unavailable
from raftlog.client.client import Client
from raftlog.wire.frame import Method
from tests.client.fake_cluster import fake_cluster, refused, unanswered, until

pytestmark = pytest.mark.asyncio


async def test_whoever_has_more_time_asks_again() -> None:
    """A question of somebody who has little is shared, and ends without an answer."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds, timeout=10) as client:
        catalog = client._catalog
        cluster.fault(Method.TOPIC_DESCRIBE, *[refused(Unavailable("no leader"))] * 20)
        hasty = asyncio.create_task(catalog.find("orders", 0.1))
        await until(lambda: bool(catalog._lookups))
        patient = asyncio.create_task(catalog.find("orders"))
        with pytest.raises(Unavailable):
            await hasty
        assert len(await patient) == 1


async def test_a_transaction_is_tried_as_long_as_it_says() -> None:
    """Although a producer, which looks for a second at a time, has asked before it."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds, timeout=10) as client:
        cluster.fault(Method.TOPIC_DESCRIBE, unanswered)
        sending = asyncio.ensure_future(client.send("orders", b"a"))
        await until(lambda: cluster.count(Method.TOPIC_DESCRIBE) == 1)
        async with client.atomic() as tx:
            tx.send("orders", b"b")
        await sending
        assert len(tx.receipts) == 1


@pytest.mark.long
async def test_whoever_has_less_time_does_not_wait_for_the_others() -> None:
    """A question of somebody who has plenty is shared as long as that may be."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds, timeout=10) as client:
        catalog = client._catalog
        cluster.fault(Method.TOPIC_DESCRIBE, *[refused(Unavailable("no leader"))] * 100)
        patient = asyncio.create_task(catalog.find("orders"))
        await until(lambda: bool(catalog._lookups))
        async with asyncio.timeout(1):
            with pytest.raises(Unavailable):
                await catalog.find("orders", 0.05)
        assert len(await patient) == 1


async def test_an_answer_is_everybody_s() -> None:
    """Also that there is no such topic: nobody asks again."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds, timeout=10) as client:
        found = await asyncio.gather(
            *(client._catalog.find("ordes") for _ in range(5)), return_exceptions=True
        )
        assert [type(each) for each in found] == [TopicNotFound] * 5
        assert cluster.count(Method.TOPIC_DESCRIBE) == 1


async def test_a_topic_that_is_named_while_another_one_is_looked_up_is_looked_up_too() -> None:
    """What is sent one way waits for a look, of its own topic."""
    async with fake_cluster(orders=1, other=1) as cluster, Client(cluster.seeds) as client:
        producer = client.producer()
        cluster.fault(Method.TOPIC_DESCRIBE, refused(Unavailable("no leader")))
        producer.oneway("orders", b"a")
        await until(lambda: cluster.count(Method.TOPIC_DESCRIBE) == 1)
        producer.oneway("other", b"b")
        status = producer.status
        while cluster.count(Method.APPEND) < 2 and not status.oneway_dropped:
            await asyncio.sleep(0.001)
            status = producer.status
        assert status.oneway_dropped == 0
        await producer.aclose()
        assert cluster.values("other") == [[b"b"]]
