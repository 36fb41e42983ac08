"""Closing: whoever waits is told, nobody is cancelled, and nothing goes on behind the scenes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from raftlog.base.errors import Closed, OutcomeUnknown, Unavailable
from raftlog.client import queue_consumer
from raftlog.client.client import Client
from raftlog.client.consumer import Consumer
from raftlog.client.halves import TransactionalProducer
from raftlog.client.handing_over import Places, Sharing
from raftlog.client.queue_message import QueueMessage
from raftlog.wire.batch import Record
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, fake_cluster, unanswered, until
from tests.client.test_atomic import BY_WORD
from tests.client.test_consumer import committed, fill, take
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
            await until(lambda: any(each.done() for each in halves))
            rows = cluster.machine.state.transactions.table.rows
            stored = len(rows)
            assert stored < len(halves)
            await producer.aclose()
            done, _ = await asyncio.wait(halves, timeout=1)
            assert len(done) == len(halves)
            told = [type(each.exception()) for each in halves]
            assert told.count(Closed) == len(halves) - stored
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


def test_polls_that_wait_are_ended_by_closing() -> None:
    """And so are iterations: also in the middle of what was read already."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            for source in (client.consumer("billing", "orders"), client.reader("orders")):
                reads = cluster.count(Method.READ)
                polling = asyncio.create_task(source.poll(timeout=3600))
                await until(lambda reads=reads: cluster.count(Method.READ) > reads)
                await source.aclose()
                assert await asyncio.wait_for(polling, 1) == []
            await client.send_batch("orders", [Record(b"%d" % number) for number in range(9)])
            for source in (client.consumer("other", "orders"), client.reader("orders")):
                found = []
                async for message in source:
                    found.append(message)
                    await source.aclose()
                assert len(found) == 1

    asyncio.run(run())


async def take_and_finish(consumer: Consumer) -> None:
    """Take two messages: the first is finished by that, and not committed yet."""
    for _ in range(2):
        await take(consumer, 1)


def test_whoever_closes_a_consumer_meanwhile_waits_for_its_last_commit() -> None:
    """So the client does, which has the connection."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster:
            client = Client(cluster.seeds)
            await fill(client, 0, 2, queues=1)
            consumer = client.consumer("billing", "orders", commit_interval=3600)
            await take_and_finish(consumer)
            cluster.fault(Method.GROUP_COMMIT, unanswered)
            first = asyncio.create_task(consumer.aclose())
            await until(lambda: bool(cluster.late))
            first.cancel()  # it is closed all the same
            others = [asyncio.create_task(each.aclose()) for each in (consumer, client)]
            await asyncio.sleep(0.01)
            assert not any(each.done() for each in others)
            cluster.late[0]()
            await asyncio.wait_for(asyncio.gather(*others), 1)
            assert committed(cluster) == [1]
            assert cluster.machine.groups.find("billing").members == {}

    asyncio.run(run())


@pytest.mark.parametrize("when", ["assigned", "revoked"])
def test_a_hook_may_close_its_consumer(when: str) -> None:
    """It is ended by that, or called by it; what is finished is committed, the group is left."""

    async def run() -> None:
        calls: list[Places] = []

        async def close(places: Places) -> None:
            calls.append(places)
            await consumer.aclose()

        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await fill(client, 0, 2, queues=1)
            sharing = Sharing(**{f"on_{when}": close})
            consumer = client.consumer("billing", "orders", sharing=sharing, commit_interval=3600)
            if when == "assigned":
                assert await asyncio.wait_for(consumer.poll(), 1) == []
            else:
                await take_and_finish(consumer)
            await asyncio.wait_for(consumer.aclose(), 1)
            assert calls == [(("orders", 0),)]
            assert committed(cluster) == ([0] if when == "assigned" else [1])
            assert cluster.machine.groups.find("billing").members == {}

    asyncio.run(run())


def test_a_client_closes_all_of_it_whatever_one_of_them_raises() -> None:
    """A hook has failed: another consumer's last commit is waited for, and then it is told."""

    async def run() -> None:
        async with fake_cluster(orders=1, other=1) as cluster:
            client = Client(cluster.seeds)
            await fill(client, 0, 2, queues=1)
            sharing = Sharing(on_revoked=lambda _: 1 // 0)
            await client.consumer("bad", "other", sharing=sharing).__aenter__()
            await take_and_finish(client.consumer("billing", "orders", commit_interval=3600))
            cluster.fault(Method.GROUP_COMMIT, unanswered)
            closing = asyncio.create_task(client.aclose())
            await until(lambda: bool(cluster.late))
            await asyncio.sleep(0.01)
            assert not closing.done()
            cluster.late[0]()
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(closing, 1)
            assert committed(cluster) == [1]

    asyncio.run(run())


def test_a_queue_that_is_to_be_read_again_is_not_after_closing() -> None:
    """A transaction has failed, and where to begin again is told too late."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await fill(client, 0, 1, queues=1)
            sharing = Sharing(member="one")  # who is closed and may come back: it owns its queue
            consumer = client.consumer("billing", "orders", sharing=sharing, **BY_WORD)
            await take(consumer, 1)
            cluster.fault(Method.GROUP_CLAIM, unanswered)
            with suppress(ZeroDivisionError):
                async with client.atomic() as tx:
                    tx.commit_offsets(consumer)
                    raise ZeroDivisionError
            await until(lambda: bool(cluster.late))
            await consumer.aclose()
            reads = cluster.count(Method.READ)
            cluster.late[0]()
            await asyncio.sleep(0.05)
            assert cluster.count(Method.READ) == reads

    asyncio.run(run())


def test_who_flushes_on_closing_does_not_raise_that_it_was_closed() -> None:
    """Somebody else was in a hurry: each send is told what became of it."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            producer = client.producer(buffer_records=1)
            await producer.send("orders", b"0")
            cluster.fault(Method.APPEND, unanswered)
            sends = [producer.send("orders", b"%d" % number) for number in (1, 2)]
            await until(lambda: bool(cluster.late))
            patient = asyncio.create_task(producer.aclose())
            await asyncio.sleep(0.01)
            await producer.aclose(flush=False)
            await asyncio.wait_for(patient, 1)
            told = await asyncio.gather(*sends, return_exceptions=True)
            assert list(map(type, told)) == [OutcomeUnknown, Closed]

    asyncio.run(run())


def test_whoever_closes_a_client_meanwhile_waits_for_it() -> None:
    """Else a thread that closes it too would end the loop of the first one."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster:
            client = Client(cluster.seeds)
            await client.send("orders", b"0")
            cluster.fault(Method.APPEND, unanswered)
            sent = client.send("orders", b"1")
            await until(lambda: bool(cluster.late))
            first, second = (asyncio.create_task(client.aclose()) for _ in range(2))
            await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.sleep(0.01)
            assert not second.done()
            cluster.late[0]()
            await asyncio.wait_for(second, 1)
            assert (await sent).offset == 1
            await client.aclose()

    asyncio.run(run())


def test_a_handler_may_close_its_client() -> None:
    """It is ended by that; what its consumer had is given back before the connections go."""

    async def run() -> None:
        async def handle(_: QueueMessage) -> None:
            await client.aclose()

        async with fake_cluster(orders=1) as cluster:
            client = Client(cluster.seeds)
            await send(client, *[b"v"] * 4)
            await asyncio.wait_for(client.queue_consumer("work", "orders").run(handle), 5)
            await asyncio.wait_for(client.aclose(), 5)
            async with Client(cluster.seeds) as other:
                states = [each.state for each in await other.queue_groups.in_flight("work")]
                assert (len(states), set(states)) == (4, {"waiting"})

    asyncio.run(run())
