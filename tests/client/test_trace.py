"""The trace of a message, as a program sees it."""

import pytest

from raftlog import Client, errors
from raftlog.client.hidden_tracing import HiddenState
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


async def test_what_a_delayed_message_waits_for_and_what_became_of_it() -> None:
    """By its receipt, by its handle, by what is listed; pending, cancelled, delivered."""
    async with fake_cluster(1, orders=1) as cluster, Client(cluster.seeds) as client:
        receipt = await client.send_later("orders", b"remind", delay=60, key=b"k")
        (listed,) = await client.delayed.list("orders")
        pending = await client.messages.trace_hidden(receipt)
        assert await client.messages.trace_hidden(listed) == pending
        assert (pending.state, pending.name) == (HiddenState.DELAYED, receipt.handle)
        assert (pending.due, pending.index) == (receipt.due, receipt.index)
        (message,) = pending.messages
        assert (message.value, message.key, message.offset) == (b"remind", b"k", -1)
        what = [event.what for event in pending.timeline]
        assert what == [f"stored (entry {receipt.index})", "due: visible from then on"]

        await client.delayed.cancel(receipt)
        cancelled = await client.messages.trace_hidden(receipt.handle)
        assert (cancelled.state, cancelled.messages) == (HiddenState.CANCELLED, ())
        assert cancelled.timeline[-1].what.startswith("cancelled")

        soon = await client.send_later("orders", b"soon", delay=0.01)
        async with client.reader("orders", start=0) as reader:
            await anext(reader)
        visible = await client.messages.trace_hidden(soon)
        assert (visible.state, visible.base_offset) == (HiddenState.VISIBLE, 0)
        assert visible.timeline[-1].what == "visible at offset 0"


async def test_what_a_half_message_waits_for_and_how_it_was_decided() -> None:
    """By its transaction, as it was handed out and as it is listed."""
    async with (
        fake_cluster(1, orders=1) as cluster,
        Client(cluster.seeds) as client,
        client.transactional_producer("b-1", group="b") as producer,
    ):
        half = await producer.half("orders", b"half")
        (listed,) = await client.transactions.list()
        trace = await client.messages.trace_hidden(half.transaction)
        assert await client.messages.trace_hidden(listed) == trace
        assert (trace.state, trace.owner, trace.owner_group) == (HiddenState.HALF, "b-1", "b")
        assert (trace.checks, trace.parked, trace.due) == (0, False, None)
        assert trace.next_check is not None
        assert trace.next_check > trace.asked
        assert [message.value for message in trace.messages] == [b"half"]
        assert "b-1" in trace.timeline[0].what
        assert trace.timeline[1].at == trace.next_check

        receipt = await half.commit()
        trace = await client.messages.trace_hidden(half.transaction)
        assert (trace.state, trace.base_offset) == (HiddenState.VISIBLE, 0)
        assert trace.decided_index == receipt.index
        other = await producer.half("orders", b"other")
        await other.rollback()
        trace = await client.messages.trace_hidden(other.transaction)
        assert (trace.state, trace.base_offset) == (HiddenState.ROLLED_BACK, None)
        (event,) = trace.timeline
        assert event.what.startswith("rolled back")
        assert event.at == trace.decided


async def test_what_names_nothing_hidden_is_said() -> None:
    """A name that is none, and names of what is not there."""
    async with fake_cluster(1, orders=1) as cluster, Client(cluster.seeds) as client:
        for name in ("orders", "1.2.x", "7.0", "1.2.3.4"):
            with pytest.raises(errors.BadRequest):
                await client.messages.trace_hidden(name)
        with pytest.raises(errors.WrongQueue):
            await client.messages.trace_hidden("99.65536.5")
        with pytest.raises(errors.UnknownTransactor):
            await client.messages.trace_hidden("99.1")
