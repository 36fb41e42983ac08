"""The consumer of a queue-style group: settled once, kept while handled, nothing lost."""

import asyncio
from contextlib import suppress

import pytest

from raftlog.base.errors import BadDelay, BadRequest, GroupStyle, StaleLease, Throttled
from raftlog.broker.lease_commands import ReturnMessages
from raftlog.client import queue_groups
from raftlog.client.client import Client
from raftlog.client.queue_consumer import HandlerEvent
from raftlog.client.queue_message import QueueMessage, Reject, Retry
from raftlog.client.settling import How
from raftlog.wire.frame import Method
from tests.client.fake_cluster import answer_lost, fake_cluster, until


async def in_flight(client: Client) -> tuple[int, int]:
    """Return how many messages are in flight and unread."""
    found = await client.queue_groups.describe("work")
    return found.in_flight, found.unread


async def send(client: Client, *values: bytes) -> None:
    for value in values:
        await client.send("orders", value, key=b"k")


async def never(_: QueueMessage) -> None:
    raise AssertionError("it is not called")


def test_a_message_is_settled_by_how_its_handler_ends() -> None:
    """Acknowledged, given back, rejected or put off."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"good", b"bad", b"reject", b"later")
            async with client.queue_consumer("work", "orders", retry=[0]) as consumer:
                got = await consumer.receive(10)
                assert [each.value for each in got] == [b"good", b"bad", b"reject", b"later"]
                async with got[0].process():
                    pass
                with pytest.raises(ValueError, match="no"):
                    async with got[1].process():
                        raise ValueError("no")
                async with got[2].process():
                    raise Reject("never")
                async with got[3].process():
                    raise Retry(delay=3600)
                assert all(each.is_settled for each in got)
                (again,) = await consumer.receive(10)
                assert (again.value, again.attempts) == (b"bad", 2)
                rows = list(cluster.machine.leasing.flights.table.after(None))
                reasons = [row.reason for row in rows]
                assert reasons == ["ValueError: no", "never", ""]
                with pytest.raises(BadRequest):
                    await got[0].ack()
                assert consumer.status.acked == 1

    asyncio.run(run())


class Speechless(Exception):
    """Its text can't be made."""

    def __str__(self) -> str:
        raise KeyError("what it is about is gone")


class SpeechlessRetry(Retry):
    """The same, of a class of the SDK's that was not told its delay."""

    def __init__(self) -> None:
        Exception.__init__(self)

    def __str__(self) -> str:
        raise TypeError


class SpeechlessReject(Reject):
    """The same."""

    def __str__(self) -> str:
        raise RecursionError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Speechless(), "Speechless, whose text could not be made"),
        (SpeechlessRetry(), "SpeechlessRetry, whose text could not be made"),
        (SpeechlessReject(), "SpeechlessReject, whose text could not be made"),
    ],
)
def test_an_error_without_a_text_is_given_back_all_the_same(error: Exception, reason: str) -> None:
    """At once, and with a reason; not when its lease ends, as if its consumer had died."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"v")
            async with client.queue_consumer("work", "orders", retry=[60]) as consumer:
                (message,) = await consumer.receive()
                with suppress(Speechless):
                    async with message.process():
                        raise error
                assert message.is_settled
                assert consumer.status.given_back == 1
                (row,) = cluster.machine.leasing.flights.table.after(None)
                assert row.reason == reason

    asyncio.run(run())


def test_run_goes_on_after_an_error_without_a_text() -> None:
    """It is reported as it is, and the next message is handled."""

    async def run() -> None:
        seen: list[bytes | None] = []
        failed: list[HandlerEvent] = []

        async def handler(message: QueueMessage) -> None:
            seen.append(message.value)
            if message.value == b"bad":
                raise Speechless

        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"bad", b"good")
            consumer = client.queue_consumer("work", "orders", retry=[60], on_event=failed.append)
            async with consumer:
                task = asyncio.create_task(consumer.run(handler, concurrency=1))
                await until(lambda: consumer.status.acked == 1)
            await task
            assert seen == [b"bad", b"good"]
            assert [(each.what, type(each.error)) for each in failed] == [("failed", Speechless)]
            assert consumer.status.given_back == 1

    asyncio.run(run())


def test_many_acknowledgements_are_one_request() -> None:
    """Those that come while one is under way wait for the next."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, *[b"%d" % at for at in range(50)])
            async with client.queue_consumer("work", "orders") as consumer:
                got = await consumer.receive(50)
                await asyncio.gather(*(each.ack() for each in got))
                assert cluster.count(Method.QUEUE_ACK) <= 2
                assert await in_flight(client) == (0, 0)

    asyncio.run(run())


def test_lost_answers_change_nothing() -> None:
    """Whatever was asked is asked again, and is what it was."""

    async def run() -> None:
        async with fake_cluster(2, orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"0", b"1")
            async with client.queue_consumer("work", "orders", retry=[0]) as consumer:
                for method in (Method.QUEUE_RECEIVE, Method.QUEUE_ACK, Method.QUEUE_RETURN):
                    cluster.fault(method, answer_lost)
                first, second = await consumer.receive(2)
                assert (first.attempts, second.attempts) == (1, 1)
                await first.ack()
                await second.nack()
                cluster.heal()
                (again,) = await consumer.receive(2)
                assert (again.value, again.attempts) == (b"1", 2)

    asyncio.run(run())


def test_a_lease_that_has_ended_is_told() -> None:
    """Its work is somebody else's now."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"0")
            async with client.queue_consumer("work", "orders") as consumer:
                (message,) = await consumer.receive()
                await cluster.propose(
                    ReturnMessages("work", ((message.held.handle, 1, (0,)),), delay_ms=0)
                )
                (again,) = await consumer.receive(wait=5)
                with pytest.raises(StaleLease):
                    await message.ack()
                await again.ack()
                assert consumer.status.lost == 1

    asyncio.run(run())


def test_what_one_consumer_has_leased_twice_is_stale_once() -> None:
    """Both acknowledgements at one time: the old lease's is refused, the new one's is not."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"0")
            async with client.queue_consumer("work", "orders") as consumer:
                (message,) = await consumer.receive()
                await cluster.propose(
                    ReturnMessages("work", ((message.held.handle, 1, (0,)),), delay_ms=0)
                )
                (again,) = await consumer.receive(wait=5)
                told = await asyncio.gather(message.ack(), again.ack(), return_exceptions=True)
                assert isinstance(told[0], StaleLease)
                assert told[1] is None

    asyncio.run(run())


def test_a_lease_that_can_not_be_kept_is_no_noise() -> None:
    """Nobody waits for the answer of a renewal; the loop does not complain of it."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"0", b"1")
            async with client.queue_consumer("work", "orders") as consumer:
                lost, kept = await consumer.receive(2)
                await cluster.propose(
                    ReturnMessages("work", ((lost.held.handle, 1, (0,)),), delay_ms=60_000)
                )
                how = How(Method.QUEUE_EXTEND, lease_ms=30_000)
                said, _ = [consumer._settling.say(how, each.held) for each in (lost, kept)]
                await consumer._settling.ended()
                assert not said._log_traceback
                assert isinstance(said.exception(), StaleLease)

    asyncio.run(run())


def test_a_group_that_is_full_is_told_when_the_wait_is_over() -> None:
    """Not a client's timeout later, and not as if there were nothing."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"0", b"1")
            async with client.queue_consumer("work", "orders", in_flight=1) as consumer:
                (message,) = await consumer.receive()
                with pytest.raises(Throttled, match="1 leased"):
                    await consumer.receive(wait=0)
                await message.ack()
                assert len(await consumer.receive(wait=0)) == 1

    asyncio.run(run())


def test_a_lease_that_ends_soon_is_kept_at_once_when_it_is_handled() -> None:
    """Not a third of a lease term later: it waited here, or its answer was lost."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"0", b"1")
            async with client.queue_consumer("work", "orders") as consumer:
                late, soon = await consumer.receive(2)
                assert consumer._held[late.held][1] > consumer._loop.time() + 25
                consumer._held[late.held] = (late, consumer._loop.time() + 2)
                async with late.process(), soon.process():
                    await asyncio.sleep(0)
                assert cluster.count(Method.QUEUE_EXTEND) == 1

    asyncio.run(run())


def test_run_keeps_leases_and_reports_who_is_overdue() -> None:
    """A handler that works longer than a lease is not interrupted; one that hangs is told of."""

    async def run() -> None:
        events: list[HandlerEvent] = []
        handled: list[bytes] = []
        slow = asyncio.Event()

        async def handle(message: QueueMessage) -> None:
            assert message.value is not None
            handled.append(message.value)
            if message.value == b"slow":
                await asyncio.sleep(1.4)
                slow.set()
            elif message.value == b"bad":
                raise ValueError("no")

        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"slow", b"bad", *[b"v"] * 20)
            async with client.queue_consumer(
                "work",
                "orders",
                lease=1,
                limit=1.2,
                attempts=1,
                on_poison="skip",
                on_event=events.append,
            ) as consumer:
                running = asyncio.create_task(consumer.run(handle, concurrency=4))
                await asyncio.wait_for(slow.wait(), 10)
                await consumer.aclose()
                await running
            assert sorted(handled) == [b"bad", b"slow", *[b"v"] * 20], "once each"
            assert {(each.what, each.message.value) for each in events} == {
                ("failed", b"bad"),
                ("overdue", b"slow"),
            }
            assert await in_flight(client) == (0, 0)

    asyncio.run(run())


def test_a_handler_whose_helper_was_cancelled_has_failed() -> None:
    """It was not cancelled itself: its attempts count, with their waits, and it is told of."""
    events: list[HandlerEvent] = []

    async def handle(_: QueueMessage) -> None:
        helper = asyncio.ensure_future(asyncio.sleep(3600))
        helper.cancel()
        await helper

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"v")
            async with client.queue_consumer(
                *("work", "orders"),
                attempts=3,
                retry=[0.01],
                on_poison="block",
                on_event=events.append,
            ) as consumer:
                running = asyncio.create_task(consumer.run(handle))
                await until(lambda: len(events) == 3)
                await asyncio.sleep(0.1)
                (row,) = cluster.machine.leasing.flights.table.after(None)
                assert row.reason.startswith("CancelledError")
                await consumer.aclose()
                await running
        assert [each.what for each in events] == ["failed"] * 3
        assert [each.message.attempts for each in events] == [1, 2, 3]
        assert all(isinstance(each.error, asyncio.CancelledError) for each in events)

    asyncio.run(run())


def test_a_handler_that_is_cancelled_itself_has_tried_nothing() -> None:
    """A time limit round it, say: the message is released, and no attempt counts."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"v")
            async with client.queue_consumer("work", "orders") as consumer:
                (message,) = await consumer.receive()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01), message.process():
                        await asyncio.sleep(3600)
                (again,) = await consumer.receive(wait=5)
                assert again.attempts == 1

    asyncio.run(run())


def test_a_handler_may_close_its_consumer() -> None:
    """It is ended by that; what the consumer had is given back before anybody's close ends."""

    async def run() -> None:
        async def handle(_: QueueMessage) -> None:
            await consumer.aclose()

        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, *[b"v"] * 8)
            consumer = client.queue_consumer("work", "orders")
            await asyncio.wait_for(consumer.run(handle), 10)
            await asyncio.wait_for(consumer.aclose(), 10)
            assert await in_flight(client) == (8, 0)

    asyncio.run(run())


def test_closing_waits_for_what_runs_and_not_for_who_ran_it() -> None:
    """A program that goes on after ``run`` does not keep the closing, nor the messages."""

    async def run() -> None:
        handled, forever = asyncio.Event(), asyncio.Event()

        async def handle(_: QueueMessage) -> None:
            handled.set()
            await forever.wait()

        async def program() -> None:
            await consumer.run(handle)
            await forever.wait()

        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"v")
            consumer = client.queue_consumer("work", "orders")
            running = asyncio.create_task(program())
            await asyncio.wait_for(handled.wait(), 10)
            first = asyncio.create_task(consumer.aclose())
            await asyncio.sleep(0)
            await asyncio.wait_for(client.aclose(), 10)
            assert first.done(), "the client waits for what is closing"
            assert not running.done()
            forever.set()
            await running

    asyncio.run(run())


def test_what_was_received_and_not_settled_is_given_back_on_closing() -> None:
    """And what was leased for a wait that was given up is released."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            await send(client, b"0")
            async with client.queue_consumer("work", "orders") as consumer:
                await consumer.receive()
            async with client.queue_consumer("work") as consumer:
                (message,) = await consumer.receive()
                assert message.attempts == 2
                await message.release()
                waiting = asyncio.create_task(consumer.receive(5))
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                (message,) = await consumer.receive()
                assert message.attempts == 2
                await message.ack()

    asyncio.run(run())


def test_mistakes_are_typed() -> None:
    """Before anything is asked where that can be seen."""

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            for wrong in ({"start": "middle"}, {"on_poison": "drop"}, {"attempts": 0}):
                with pytest.raises(BadRequest):
                    client.queue_consumer("work", "orders", **wrong)  # type: ignore[arg-type]
            with pytest.raises(BadDelay):
                client.queue_consumer("work", "orders", retry=[-1])
            async with client.consumer("stream", "orders"):
                with pytest.raises(GroupStyle):
                    await client.queue_consumer("stream", "orders").__aenter__()
            await send(client, b"0")
            async with client.queue_consumer("work", "orders") as consumer:
                (message,) = await consumer.receive()
                for delay in (-1, 25 * 3600):
                    with pytest.raises(BadDelay):
                        await message.nack(delay=delay)
                assert not message.is_settled
                with pytest.raises(BadRequest):
                    await consumer.receive(0)
                for nothing in (-1, 0):  # else it asks for ever, and never gives the loop back
                    with pytest.raises(BadRequest, match=f"a concurrency of {nothing};"):
                        await consumer.run(never, concurrency=nothing)
                await message.ack()

    asyncio.run(run())


def test_what_is_in_flight_is_told_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, in order; and what is blocked goes on as somebody decides."""
    monkeypatch.setattr(queue_groups, "PAGE", 2)

    async def run() -> None:
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            groups = client.queue_groups
            made = await groups.open("work", "orders", lease=20, attempts=1, on_poison="block")
            assert (made.settings.attempts, made.settings.on_poison) == (1, "block")
            await send(client, *(b"%d" % n for n in range(5)))
            assert [each.unread for each in await groups.list()] == [5]
            async with client.queue_consumer("work") as consumer:
                got = await consumer.receive(5)
                await got[1].reject("no")
                found = await groups.in_flight("work")
                assert [each.offset for each in found] == [0, 1, 2, 3, 4]
                assert [each.offset for each in await groups.in_flight("work", limit=3)] == [
                    0,
                    1,
                    2,
                ]
                [blocked] = await groups.in_flight("work", blocked=True)
                assert (blocked.offset, blocked.state, blocked.reason) == (1, "blocked", "no")
                await groups.decide("work", "orders", 0, 1, "retry")
                [again] = await consumer.receive(5)
                assert (again.value, again.attempts) == (b"1", 1)
                with pytest.raises(StaleLease, match="is not blocked"):
                    await groups.decide("work", "orders", 0, 1, "skip")
                with pytest.raises(BadRequest, match="has 1 queues"):
                    await groups.decide("work", "orders", 7, 1, "skip")
                with pytest.raises(BadRequest, match="'bills'; it reads orders"):
                    await groups.decide("work", "bills", 0, 1, "skip")

    asyncio.run(run())
