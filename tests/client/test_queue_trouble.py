"""The consumer of a queue-style group in trouble: it goes on, says so, and keeps what it has."""

import asyncio
import struct

import pytest

from raftlog.base.errors import BadRequest
from raftlog.client import queue_consumer
from raftlog.client.calls import Calls
from raftlog.client.client import Client
from raftlog.client.queue_message import QueueMessage
from raftlog.client.settling import How
from raftlog.wire.batch_header import ANONYMOUS, seal_batch
from raftlog.wire.codecs import Codec
from raftlog.wire.frame import Method
from tests.broker.logs import append
from tests.client.fake_cluster import FakeCluster, fake_cluster, unanswered, until
from tests.client.test_queue_consumer import in_flight, send

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


async def test_leases_that_become_shorter_are_kept_all_the_same() -> None:
    """Somebody else has opened the group with another length.

    Schedule: a handler works under a lease of 60 s, so leases are kept every 20 s. The group's
    become 1 s; the next message is leased for so long, and ends while it is handled.
    """
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await send(client, b"0", b"1")
        async with client.queue_consumer("work", "orders", lease=60) as consumer:
            (first,) = await consumer.receive()
            async with first.process():
                await asyncio.sleep(0)
                await client.queue_groups.open("work", lease=1)
                (second,) = await consumer.receive()
                async with second.process():
                    await until(lambda: cluster.count(Method.QUEUE_EXTEND) >= 2)
                assert left_ms(cluster)[0] > 50_000, "it has what it was leased for"
            assert await in_flight(client) == (0, 0)


async def test_a_lease_that_was_extended_for_longer_is_not_cut_short() -> None:
    """By what keeps it while it is handled; and its message is known to be held for so long."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await send(client, b"v")
        async with client.queue_consumer("work", "orders", lease=1) as consumer:
            (message,) = await consumer.receive()
            async with message.process():
                await message.extend(3600)
                assert consumer._held[message.held][1] > consumer._loop.time() + 3000
                await until(lambda: cluster.count(Method.QUEUE_EXTEND) >= 2)
                await consumer._settling.ended()
                assert left_ms(cluster)[0] > 3_000_000


async def test_what_was_extended_and_not_settled_is_given_back_on_closing() -> None:
    """Not forgotten when the lease that it had at first is over: nobody got it for an hour."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await send(client, b"v")
        async with client.queue_consumer("work", "orders", lease=1) as consumer:
            (message,) = await consumer.receive()
            await message.extend(3600)
            await asyncio.sleep(1.01)
            assert await consumer.receive(wait=0) == []
            assert consumer.status.held == 1
        async with client.queue_consumer("work") as consumer:
            assert len(await consumer.receive(wait=0)) == 1


async def test_a_lease_is_kept_by_one_request_while_nobody_answers() -> None:
    """Each renewal was one more to be said when the cluster was back."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await send(client, b"v")
        async with client.queue_consumer("work", "orders") as consumer:
            (message,) = await consumer.receive()
            cluster.fault(Method.QUEUE_EXTEND, unanswered)
            for _ in range(3):
                consumer._extend(message, 30.0)
                await asyncio.sleep(0)
            assert consumer._settling._waiting == {}
            await until(lambda: bool(cluster.late))
            cluster.late[0]()
            await consumer._settling.ended()
            consumer._extend(message, 30.0)
            await consumer._settling.ended()
            assert cluster.count(Method.QUEUE_EXTEND) == 2
            await message.ack()


async def test_a_batch_that_does_not_open_does_not_end_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ended every consumer that got it, one after the other, as often as it was tried."""
    monkeypatch.setattr(queue_consumer, "TROUBLE_PAUSE_S", 0.01)
    handled = asyncio.Event()

    async def handle(message: QueueMessage) -> None:
        assert message.value == b"good"
        handled.set()

    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        too_long = [b"", b"", struct.pack("<i", 1_000)]
        bad = append(seal_batch(too_long, Codec.NONE, 1, 0, ANONYMOUS, (5, 5)))
        cluster.replica.propose(bad.type, bad.parts, lambda *_: None)
        async with client.queue_consumer(
            "work", "orders", attempts=2, retry=[0], on_poison="skip"
        ) as consumer:
            running = asyncio.create_task(consumer.run(handle))
            groups = cluster.machine.leasing.groups
            await until(lambda: (row := groups.get("work")) is not None and row.skipped == 1)
            await send(client, b"good")
            await asyncio.wait_for(handled.wait(), 5)
            await consumer.aclose()
            await running


async def test_closing_does_not_wait_for_a_cluster_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its handlers release their messages, and waited for an answer for the client's timeout."""
    monkeypatch.setattr(queue_consumer, "CLOSE_S", 0.1)
    began = asyncio.Event()

    async def handle(_: QueueMessage) -> None:
        began.set()
        await asyncio.sleep(3600)

    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await send(client, b"v")
        consumer = client.queue_consumer("work", "orders")
        running = asyncio.create_task(consumer.run(handle))
        await began.wait()
        cluster.nodes[0].is_silent = True
        await asyncio.wait_for(consumer.aclose(), 1.5)
        assert running.done()


async def test_one_transaction_acknowledges_for_two_consumers_of_a_group() -> None:
    """It was refused: "two lists of acks for one group"."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await send(client, b"0", b"1")
        async with (
            client.queue_consumer("work", "orders") as one,
            client.queue_consumer("work") as other,
        ):
            (first,) = await one.receive()
            (second,) = await other.receive()
            async with client.atomic() as tx:
                tx.ack(first)
                tx.ack(second)
                tx.send("out", b"both")
            assert await in_flight(client) == (0, 0)
            assert (one.status.acked, other.status.acked) == (1, 1)
            assert cluster.values("out") == [[b"both"]]


async def test_who_waits_for_calls_to_end_and_is_cancelled_breaks_none_of_them() -> None:
    """A loop that ends cancels all its tasks: the call then failed with ``InvalidStateError``."""
    calls = Calls("it was closed")

    async def call() -> None:
        with calls.under_way():
            await asyncio.sleep(3600)

    calling = asyncio.create_task(call())
    await asyncio.sleep(0)
    ending = asyncio.create_task(calls.ended())
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait([ending])
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
