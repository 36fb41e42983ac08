"""Closing: whoever waits is told, nobody is cancelled, and nothing goes on behind the scenes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from raftlog.base.errors import Closed, OutcomeUnknown, Unavailable
from raftlog.client import queue_consumer
from raftlog.client.client import Client
from raftlog.client.halves import TransactionalProducer
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, fake_cluster, unanswered, until
from tests.client.test_halves import visible
from tests.client.test_queue_consumer import in_flight, never, send


def test_a_run_that_was_closed_leaves_no_cancellation_behind() -> None:
    """Whoever goes on after it in the same task is not taken for cancelled."""

    async def fail_four_times(client: Client) -> list[int]:
        """By what a handler waits for; return the attempts that were counted."""
        attempts = []
        async with client.queue_consumer("work", "orders", retry=[0]) as consumer:
            for _ in range(4):
                (message,) = await consumer.receive(wait=5)
                attempts.append(message.attempts)
                gone = asyncio.get_running_loop().create_future()
                gone.cancel()
                with suppress(asyncio.CancelledError):
                    async with message.process():
                        await gone
        return attempts

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            first = client.queue_consumer("other", "orders")

            async def work() -> list[int]:
                await first.run(never)
                own = asyncio.current_task()
                assert own is not None
                assert own.cancelling() == 0
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await asyncio.sleep(3600)
                await send(client, b"v")
                return await fail_four_times(client)

            running = asyncio.create_task(work())
            await until(lambda: cluster.count(Method.QUEUE_RECEIVE) > 0)
            await first.aclose()
            assert await running == [1, 2, 3, 4]

    asyncio.run(run())


@pytest.mark.parametrize("turns", range(4))
def test_who_is_cancelled_while_it_is_closed_is_cancelled(turns: int) -> None:
    """``run`` ends by one or the other, and does not take a cancellation for the closing."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            consumer = client.queue_consumer("work", "orders")
            running = asyncio.create_task(consumer.run(never))
            await until(lambda: cluster.count(Method.QUEUE_RECEIVE) > 0)
            closing = asyncio.create_task(consumer.aclose())
            for _ in range(turns):
                await asyncio.sleep(0)
            is_asked = running.cancel()
            assert is_asked or turns > 1
            await asyncio.wait([running])
            assert running.cancelled() == is_asked
            await closing

    asyncio.run(run())


def test_a_receive_that_waits_is_ended_by_closing() -> None:
    """What comes later is leased to nobody that is no more."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            consumer = client.queue_consumer("work", "orders")
            receiving = asyncio.create_task(consumer.receive())
            await until(lambda: cluster.service.receiving.waiting == 1)
            await consumer.aclose()
            assert receiving.done()
            with pytest.raises(Closed):
                await receiving
            assert cluster.service.receiving.waiting == 0
            await send(client, b"v")
            assert await in_flight(client) == (0, 1)
            with pytest.raises(Closed):
                await consumer.receive()

    asyncio.run(run())


@pytest.mark.parametrize("runs", [False, True])
def test_who_waits_for_its_group_is_ended_by_closing(runs: bool) -> None:  # noqa: FBT001
    """Nothing is asked for in it afterwards."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            consumer = client.queue_consumer("work", "orders")
            cluster.fault(Method.QUEUE_OPEN, unanswered)
            work = consumer.run(never) if runs else consumer.receive()
            waiting = asyncio.ensure_future(work)
            await until(lambda: bool(cluster.late))
            await consumer.aclose()
            with pytest.raises(Closed):
                await asyncio.wait_for(waiting, 1)
            cluster.late[0]()
            await asyncio.sleep(0.01)
            assert cluster.count(Method.QUEUE_RECEIVE) == 0

    asyncio.run(run())


def test_what_comes_while_it_is_closed_is_given_back_before_that_ends() -> None:
    """In whichever turn: it was handed out, and counts, or it is released."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"v")
            await client.queue_groups.open("work", "orders", retry=[0], attempts=1_000)
            counted = 0
            for turns in range(30):
                consumer = client.queue_consumer("work")
                receiving = asyncio.create_task(consumer.receive())
                for _ in range(turns):
                    await asyncio.sleep(0)
                await consumer.aclose()
                assert receiving.done()
                counted += receiving.exception() is None
                states = [each.state for each in await client.queue_groups.in_flight("work")]
                assert "leased" not in states
            assert 0 < counted < 30, "closed before it came, and after it"
            async with client.queue_consumer("work") as consumer:
                (message,) = await consumer.receive(wait=0)
                assert message.attempts == counted + 1
                await message.ack()

    asyncio.run(run())


def test_who_waits_for_its_acknowledgement_is_told_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was sent; and nothing is said any more by a consumer that is closed."""
    monkeypatch.setattr(queue_consumer, "CLOSE_S", 0.05)

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"v")
            consumer = client.queue_consumer("work", "orders")
            (message,) = await consumer.receive()
            cluster.fault(Method.QUEUE_ACK, unanswered)
            acking = asyncio.create_task(message.ack())
            await until(lambda: bool(cluster.late))
            await consumer.aclose()
            with pytest.raises(OutcomeUnknown):
                await asyncio.wait_for(acking, 1)
            with pytest.raises(Closed):
                await message.release()
            with suppress(Closed):
                async with message.process():
                    assert consumer._renewing is None
            assert cluster.count(Method.QUEUE_RETURN) == 0

    asyncio.run(run())


@asynccontextmanager
async def transactional() -> AsyncIterator[tuple[FakeCluster, Client, TransactionalProducer]]:
    """A producer that has begun, and that nobody closes."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        producer = client.transactional_producer("b-1", group="b")
        await (await producer.half("orders", b"first")).rollback()
        yield cluster, client, producer


def test_a_commit_under_way_is_told_on_closing_that_nobody_knows() -> None:
    """It may be carried out, and is here; one that was not asked yet is told that."""

    async def run() -> None:
        async with transactional() as (cluster, client, producer):
            halves = [await producer.half("orders", b"%d" % number) for number in range(5)]
            cluster.fault(Method.TRANSACTIONS_DECIDE, *[unanswered] * 10)
            commits = []
            for number, half in enumerate(halves):  # each in a request of its own, at most four
                commits.append(asyncio.create_task(half.commit()))
                await until(lambda number=number: len(cluster.late) >= min(number + 1, 4))
            await producer.aclose()
            told = await asyncio.wait_for(asyncio.gather(*commits, return_exceptions=True), 1)
            assert list(map(type, told)) == [OutcomeUnknown] * 4 + [Closed]
            cluster.late[0]()
            await until(lambda: visible(cluster, "orders") == [b"0"])
            with pytest.raises(Closed):
                await halves[0].commit()
            del client

    asyncio.run(run())


def test_a_half_message_under_way_is_told_on_closing() -> None:
    """It may be stored, and is for the checker then."""

    async def run() -> None:
        async with transactional() as (cluster, client, producer):
            cluster.fault(Method.HALVES_STAGE, *[unanswered] * 10)
            half = asyncio.create_task(producer.half("orders", b"v"))
            await until(lambda: bool(cluster.late))
            await producer.aclose()
            with pytest.raises(Unavailable, match="or left to the checker"):
                await asyncio.wait_for(half, 1)
            cluster.late[0]()
            await asyncio.sleep(0.01)
            assert [row.owner for row in await client.transactions.list()] == ["b-1"]
            assert visible(cluster, "orders") == []

    asyncio.run(run())


def test_nothing_is_staged_after_closing() -> None:
    """What was throttled is asked again in a while, and ends with its producer."""

    async def run() -> None:
        async with transactional() as (cluster, client, producer):
            await client.quotas.set(topic="orders", records_per_s=1)
            halves = [asyncio.create_task(producer.half("orders", b"v")) for _ in range(4)]
            resting = producer._dispatch._staging._resting
            await until(lambda: bool(resting))
            rows = cluster.machine.state.transactions.table.rows
            stored = len(rows)
            assert stored < len(halves)
            await producer.aclose()
            done, _ = await asyncio.wait(halves, timeout=1)
            assert len(done) == len(halves)
            told = [type(each.exception()) for each in halves]
            assert told.count(Closed) == len(halves) - stored
            assert not resting
            with pytest.raises(Closed):
                await producer.half("orders", b"v")
            await asyncio.sleep(1.2)  # so long it takes until one more may be stored
            assert len(rows) == stored

    asyncio.run(run())


def test_who_was_forgotten_while_it_is_closed_does_not_begin_again() -> None:
    """A refusal that comes in the turn of the closing, or while that waits."""

    async def run() -> None:
        async with transactional() as (cluster, _, producer):
            for is_closed in (False, True):
                dispatch = producer._dispatch
                if is_closed:
                    await producer.aclose()
                producer._forget(dispatch)
                assert (producer._dispatch is dispatch) == is_closed
            assert all(each.is_closed for each in (*producer._forgotten, producer._dispatch))
            assert cluster.count(Method.TRANSACTOR_INIT) == 1

    asyncio.run(run())


def test_a_producer_whose_closing_is_cancelled_is_closed() -> None:
    """Before it has begun, or while it waits for what is rolled back."""

    async def run() -> None:
        for turns in range(3):
            async with transactional() as (cluster, client, producer):
                half = await producer.half("orders", b"v")
                cluster.fault(Method.TRANSACTIONS_DECIDE, *[unanswered] * 10)
                half.give_up()
                closing = asyncio.create_task(producer.aclose())
                await asyncio.sleep(0)
                for _ in range(turns):
                    await asyncio.sleep(0)
                closing.cancel()
                with suppress(asyncio.CancelledError):
                    await closing
                with pytest.raises(Closed):
                    await producer.half("orders", b"w")
                assert producer not in client._parts

    asyncio.run(run())
