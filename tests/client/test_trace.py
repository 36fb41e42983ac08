"""The trace of a message, as a program sees it."""

import pytest

from raftlog import Client, errors
from raftlog.client.tracing import GroupProgress, MessageOrigin
from tests.client.fake_cluster import fake_cluster

pytestmark = pytest.mark.asyncio


async def test_how_a_message_came_and_who_has_read_it() -> None:
    """Two records of one batch; a group that has read one of them, another that has leased it."""
    async with fake_cluster(1, orders=2) as cluster, Client(cluster.seeds) as client:
        await client.send("orders", b"first", queue=1)
        sent = client.send("orders", b"a", key=b"k", headers={"h": b"1"}, tag="t", queue=1)
        receipt = await client.send("orders", b"b", queue=1)
        await sent
        async with client.consumer("billing", ["orders"]) as consumer:
            for _ in range(2):
                await consumer.commit(await anext(consumer))
        async with client.queue_consumer("work", ["orders"], start="earliest") as workers:
            (leased,) = await workers.receive(1, wait=5)

        traced = await client.messages.trace("orders", 1, 1)
        last = await client.messages.trace("orders", 1, 2)
        first = await client.messages.trace("orders", leased.queue, leased.offset)

    message = traced.message
    assert (message.value, message.key, message.tag) == (b"a", b"k", "t")
    assert dict(message.headers) == {"h": b"1"}
    assert (traced.place, traced.batch_records, last.place) == (0, 2, 1)
    assert (traced.index, last.index) == (receipt.index, receipt.index)
    assert (traced.sequence, last.sequence) == (1, 2)
    assert traced.producer == last.producer > 0
    assert traced.origin is MessageOrigin.SENT
    assert traced.stored == traced.visible == last.stored
    assert traced.asked >= traced.visible
    found = {each.group: each for each in traced.groups}
    assert found["billing"].progress is GroupProgress.FINISHED
    assert found["billing"].committed == 2
    assert {each.group: each.progress for each in last.groups}["billing"] is GroupProgress.UNREAD
    in_flight = {each.group: each for each in first.groups}["work"]
    assert in_flight.progress in (GroupProgress.LEASED, GroupProgress.WAITING)
    assert first.timeline[-1].what.startswith("group billing: finished")
    assert "stored and visible" in [event.what for event in traced.timeline][1]


async def test_delayed_and_half_messages_have_a_past() -> None:
    """Sent, due, visible; staged, committed."""
    async with fake_cluster(1, orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send_later("orders", b"later", delay=0.05)
        async with (
            client.reader("orders", start=0) as reader,
            client.transactional_producer("b-1", group="b") as producer,
        ):
            await anext(reader)
            half = await producer.half("orders", b"half")
            await half.commit()
        delayed = await client.messages.trace("orders", 0, 0)
        staged = await client.messages.trace("orders", 0, 1)

    assert delayed.origin is MessageOrigin.DELAYED
    assert delayed.stored is not None
    assert delayed.due is not None
    assert delayed.stored < delayed.due <= delayed.visible
    what = [event.what for event in delayed.timeline]
    assert what[1].startswith("stored, to be visible later")
    assert what[2:] == ["due", "visible"]
    assert (staged.origin, staged.owner, staged.owner_group) == (MessageOrigin.HALF, "b-1", "b")
    assert staged.transaction == half.transaction
    assert staged.timeline[-1].what == "committed: visible"


async def test_what_is_not_there_is_said() -> None:
    """Topic, queue, offset."""
    async with fake_cluster(1, orders=1) as cluster, Client(cluster.seeds) as client:
        with pytest.raises(errors.TopicNotFound):
            await client.messages.trace("nowhere", 0, 0)
        with pytest.raises(errors.WrongQueue):
            await client.messages.trace("orders", 1, 0)
        for offset in (-1, 0, 1):
            with pytest.raises(errors.OffsetOutOfRange):
                await client.messages.trace("orders", 0, offset)
