"""Messages of queue groups in transactions: settled with them, whichever block ends first."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import pytest

from raftlog.base.errors import (
    BadDelay,
    BadRequest,
    LimitReached,
    OutcomeUnknown,
    StaleLease,
    Unavailable,
)
from raftlog.client import queue_consumer
from raftlog.client.client import Client
from raftlog.client.queue_consumer import HandlerEvent, QueueConsumer
from raftlog.client.queue_message import QueueMessage, Reject, Retry
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, fake_cluster, refused, unanswered, until
from tests.client.test_atomic import COMMIT, NOT_YET, SHORT_S, transact, visible
from tests.client.test_consumer import fill

pytestmark = pytest.mark.asyncio

LEASE_S: Final = 1.0


@asynccontextmanager
async def one_message(
    **options: Any,
) -> AsyncIterator[tuple[FakeCluster, Client, QueueConsumer, QueueMessage]]:
    """A cluster with a message that is leased, retried at once if it is given back."""
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 1, queues=1)
        options = {"retry": [0], **options}
        async with client.queue_consumer("work", "orders", **options) as consumer:
            (message,) = await consumer.receive()
            yield cluster, client, consumer, message


async def transact_round(
    client: Client,
    message: QueueMessage,
    *,
    fails: Exception | Callable[[], Exception] | None = None,
    catches: tuple[type[Exception], ...] = (ZeroDivisionError,),
    then: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Handle a message inside the block of a transaction; do something before its commit."""
    async with client.atomic() as tx:
        with suppress(*catches):
            async with message.process():
                tx.ack(message)
                tx.send("out", b"a")
                if fails is not None:
                    raise fails if isinstance(fails, Exception) else fails()
        if then is not None:
            await then()


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    """Return what raises it."""

    async def fail() -> None:
        raise error

    return fail


async def left(client: Client) -> tuple[int, int]:
    """Return how many messages are in flight and unread."""
    found = await client.queue_groups.describe("work")
    return found.in_flight, found.unread


def reason(cluster: FakeCluster) -> str:
    """Return why the only message that is not finished was given back the last time."""
    (row,) = cluster.machine.leasing.flights.table.after(None)
    return row.reason


async def test_a_handler_that_ends_before_the_commit_acknowledges_nothing() -> None:
    """The commit does, at the index of the records."""
    async with one_message() as (cluster, client, consumer, message):
        async with client.atomic() as tx:
            async with message.process():
                tx.ack(message)
                tx.send("out", b"a")
            assert not message.is_settled
            assert await left(client) == (1, 0)
            assert consumer.status.handling == 1, "its lease is kept"
        assert message.is_settled
        assert (cluster.count(Method.QUEUE_ACK), cluster.count(Method.QUEUE_RETURN)) == (0, 0)
        assert (visible(cluster), await left(client)) == ([b"a"], (0, 0))
        assert (consumer.status.held, consumer.status.handling) == (0, 0)


ENDS: Final = (
    (ZeroDivisionError("no"), 2, "ZeroDivisionError: no"),
    (Retry("not now"), 2, "not now"),
    (asyncio.CancelledError(), 2, "CancelledError: something that its handler waited for "),
)


@pytest.mark.parametrize(("failure", "attempts", "why"), ENDS)
async def test_a_transaction_that_fails_gives_the_message_back(
    failure: BaseException, attempts: int, why: str
) -> None:
    """Its handler had ended before: as process() does for the same error."""
    async with one_message() as (cluster, client, consumer, message):
        with pytest.raises(type(failure)):
            await transact_round(client, message, then=raising(failure))
        (again,) = await consumer.receive(wait=5)
        assert (again.attempts, reason(cluster)[: len(why)]) == (attempts, why)
        assert (visible(cluster), consumer.status.handling) == ([], 0)


async def test_a_block_that_is_cancelled_releases_the_message() -> None:
    """Nobody has tried it: the attempt does not count."""
    async with one_message() as (cluster, client, consumer, message):
        forever = asyncio.Event()
        task = asyncio.ensure_future(transact_round(client, message, then=forever.wait))
        await until(lambda: message.transaction is not None)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (again,) = await consumer.receive(wait=5)
        assert (again.attempts, visible(cluster)) == (1, [])


async def test_a_transaction_that_is_refused_gives_the_message_back() -> None:
    """Nothing of it was committed: the attempt has failed."""
    async with one_message() as (cluster, client, consumer, message):
        cluster.fault(COMMIT, refused(LimitReached("full")))
        with pytest.raises(LimitReached):
            await transact_round(client, message)
        (again,) = await consumer.receive(wait=5)
        assert (again.attempts, reason(cluster)) == (2, "LimitReached: full")
        assert visible(cluster) == []


async def test_a_rejected_transaction_makes_a_dead_letter() -> None:
    """As in process()."""
    async with one_message() as (cluster, client, _, message):
        with pytest.raises(Reject):
            await transact_round(client, message, then=raising(Reject("never")))
        await until(lambda: message.is_settled)
        await until(lambda: cluster.count(Method.QUEUE_RETURN) == 1)
        found = await client.queue_groups.describe("work")
        assert (found.in_flight + found.dead_letters, visible(cluster)) == (1, [])
        assert cluster.count(Method.QUEUE_ACK) == 0


@pytest.mark.parametrize("failure", [ZeroDivisionError("no"), Retry("not now")])
async def test_a_handler_that_fails_refuses_the_transaction_round_it(failure: Exception) -> None:
    """Also if its error is caught: what it sent is not for a message that is handled again."""
    async with one_message() as (cluster, client, consumer, message):
        with pytest.raises(StaleLease, match="its handler failed"):
            await transact_round(client, message, fails=failure)
        (again,) = await consumer.receive(wait=5)
        assert (again.attempts, visible(cluster), cluster.count(COMMIT)) == (2, [], 0)


@pytest.mark.parametrize("failure", [ZeroDivisionError("no"), Retry("not now"), Reject("no")])
async def test_a_handler_that_failed_is_not_acknowledged_if_its_give_back_failed(
    failure: Exception,
) -> None:
    """Nobody could be told, and its errors are caught: it has failed all the same."""
    async with (
        one_message() as (cluster, client, _, first),
        Client(cluster.seeds, timeout=SHORT_S) as impatient,
        impatient.queue_consumer("work", "orders") as consumer,
    ):
        await first.release()
        (message,) = await consumer.receive()
        cluster.fault(Method.QUEUE_RETURN, *NOT_YET)
        with pytest.raises(StaleLease, match="its handler failed"):
            await transact_round(
                impatient, message, fails=failure, catches=(ZeroDivisionError, Unavailable)
            )
        cluster.heal()
        assert (visible(cluster), cluster.count(COMMIT)) == ([], 0)
        assert (await left(client), message.is_settled) == ((1, 0), False)
        await message.ack()


async def test_a_handler_that_fails_during_the_commit_refuses_what_is_asked_again() -> None:
    """The topic was made anew: the first try is refused for it, so nothing was done yet."""
    async with one_message() as (cluster, client, consumer, message):
        await transact(client, b"before")
        async with Client(cluster.seeds) as other:
            await other.topics.delete("out")
            await other.topics.create("out", queues=1)
        cluster.fault(COMMIT, unanswered)
        gone = asyncio.Event()

        async def handle() -> None:
            async with message.process():
                await gone.wait()
                raise ZeroDivisionError("no")

        handling = asyncio.ensure_future(handle())
        committing = asyncio.ensure_future(transact(client, b"v", acks=[message]))
        await until(lambda: bool(cluster.late))
        gone.set()
        await asyncio.wait([handling])
        cluster.late[0]()
        with pytest.raises(StaleLease, match="its handler failed"):
            await committing
        assert isinstance(handling.exception(), ZeroDivisionError)
        (again,) = await consumer.receive(wait=5)
        assert (again.attempts, visible(cluster), reason(cluster)) == (
            2,
            [],
            "ZeroDivisionError: no",
        )


@pytest.mark.parametrize(
    ("delay", "error"),
    [(-1, BadDelay), (25 * 3600, BadDelay), (float("nan"), BadDelay), ("soon", TypeError)],
)
async def test_a_retry_with_a_bad_delay_has_failed(delay: Any, error: type[Exception]) -> None:
    """Its message is given back, the transaction round it refused, and the handler is told."""
    async with one_message() as (cluster, client, consumer, message):
        with pytest.raises(StaleLease, match="its handler failed"):
            await transact_round(
                client, message, fails=lambda: Retry(delay=delay), catches=(error,)
            )
        (again,) = await consumer.receive(wait=5)
        assert (again.attempts, visible(cluster)) == (2, [])
        assert reason(cluster).startswith(error.__name__)


@pytest.mark.parametrize("how", [QueueMessage.nack, QueueMessage.reject, QueueMessage.release])
async def test_what_was_to_be_given_back_is_not_acknowledged(
    how: Callable[[QueueMessage], Awaitable[None]],
) -> None:
    """It can't be by hand in a transaction: who does not mind does not get the contrary."""
    async with one_message() as (cluster, client, _, message):

        async def try_to_give_back() -> None:
            with suppress(BadRequest):
                await how(message)

        with pytest.raises(StaleLease, match="to be given back"):
            await transact(client, b"v", acks=[message], then=try_to_give_back)
        assert (visible(cluster), await left(client)) == ([], (1, 0))
        await how(message)
        assert message.is_settled


async def settle_by_hand(message: QueueMessage) -> None:
    """Try each way to settle it; all are refused."""
    for settle in (message.ack, message.nack, message.reject, message.release):
        with pytest.raises(BadRequest, match="open or of unknown outcome"):
            await settle()


async def test_a_message_in_a_transaction_is_not_settled_by_hand() -> None:
    """Neither before the commit nor while its outcome is unknown."""
    async with one_message() as (cluster, client, _, message):

        async def try_and_fail() -> None:
            await settle_by_hand(message)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await transact(client, b"a", acks=[message], then=try_and_fail)
        cluster.fault(COMMIT, unanswered)
        cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)
        with pytest.raises(OutcomeUnknown):
            await transact(client, b"v", acks=[message], timeout=SHORT_S)
        await settle_by_hand(message)
        await message.extend()
        cluster.heal()
        await until(lambda: message.transaction is None)
        await message.ack()
        assert (visible(cluster), await left(client)) == ([], (0, 0))


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("arrives", [False, True])
async def test_a_message_of_unknown_outcome_is_kept_until_it_is_known(
    arrives: bool,  # noqa: FBT001
    swallows: bool,  # noqa: FBT001
) -> None:
    """Longer than its lease: else somebody else works on it, and the copy may count it, too."""
    async with one_message(lease=LEASE_S) as (cluster, client, consumer, message):
        cluster.fault(COMMIT, unanswered)
        cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)
        try:
            async with message.process():
                try:
                    await transact(client, b"v", acks=[message], timeout=SHORT_S)
                except OutcomeUnknown:
                    if not swallows:
                        raise
        except OutcomeUnknown:
            assert not swallows
        assert await consumer.receive(wait=LEASE_S * 1.5) == []
        assert (consumer.status.handling, message.is_settled) == (1, False)
        assert (cluster.count(Method.QUEUE_ACK), cluster.count(Method.QUEUE_RETURN)) == (0, 0)
        if arrives:
            cluster.late[0]()
        cluster.heal()
        await until(lambda: message.is_settled)
        if arrives:
            assert await left(client) == (0, 0)
        else:
            (again,) = await consumer.receive(wait=5)
            assert again.attempts == 2
            assert reason(cluster).startswith("NotStored" if swallows else "")
            cluster.late[0]()
            await asyncio.sleep(0.01)
        assert consumer.status.handling == 0
        assert visible(cluster) == ([b"v"] if arrives else [])


@pytest.mark.parametrize("arrives", [False, True])
async def test_a_handler_that_is_ended_in_its_commit_gives_nothing_back_blindly(
    arrives: bool,  # noqa: FBT001
) -> None:
    """Its consumer is closed: that waits until it is known what became of the transaction."""
    events: list[HandlerEvent] = []
    async with fake_cluster(orders=1, out=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 0, 1, queues=1)
        consumer = client.queue_consumer("work", "orders", on_event=events.append)
        cluster.fault(COMMIT, unanswered)
        cluster.fault(Method.PRODUCER_FENCE, *NOT_YET)

        async def handle(message: QueueMessage) -> None:
            await transact(client, b"v", acks=[message])

        running = asyncio.ensure_future(consumer.run(handle))
        await until(lambda: bool(cluster.late))
        closing = asyncio.ensure_future(consumer.aclose())
        await asyncio.sleep(0.05)
        assert (closing.done(), cluster.count(Method.QUEUE_RETURN)) == (False, 0)
        if arrives:
            cluster.late[0]()
        cluster.heal()
        await asyncio.wait_for(asyncio.gather(closing, running), 10)
        assert await left(client) == ((0, 0) if arrives else (1, 0))
        assert cluster.count(Method.QUEUE_RETURN) == (0 if arrives else 1)
        assert visible(cluster) == ([b"v"] if arrives else [])


@pytest.mark.parametrize("inside", [False, True])
async def test_a_handler_that_is_ended_in_its_commit_has_tried_nothing(
    inside: bool,  # noqa: FBT001
) -> None:
    """Its copy never arrives: no attempt is used up, and the last one makes no dead letter."""
    async with one_message(attempts=1) as (cluster, client, consumer, message):
        cluster.fault(COMMIT, unanswered)

        async def handle() -> None:
            if inside:
                await transact_round(client, message)
                return
            async with message.process():
                await transact(client, b"v", acks=[message])

        task = asyncio.ensure_future(handle())
        await until(lambda: bool(cluster.late))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (again,) = await consumer.receive(wait=5)
        assert (again.attempts, visible(cluster)) == (1, [])


async def test_a_handler_that_gives_a_commit_its_own_time_has_tried() -> None:
    """It goes on when that is over: it was not ended, so its attempt counts."""
    async with one_message() as (cluster, client, consumer, message):
        cluster.fault(COMMIT, unanswered)
        async with message.process():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SHORT_S):
                    await transact(client, b"v", acks=[message])
        (again,) = await consumer.receive(wait=5)
        assert (again.attempts, visible(cluster)) == (2, [])
        assert reason(cluster).startswith("NotStored")


async def test_what_nobody_will_ever_know_is_left_to_the_end_of_its_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client is closed before anybody could tell: it says neither this nor that."""
    monkeypatch.setattr(queue_consumer, "CLOSE_S", 0.2)
    async with fake_cluster(orders=1, out=1) as cluster:
        async with Client(cluster.seeds) as client:
            await fill(client, 0, 1, queues=1)
            consumer = client.queue_consumer("work", "orders")
            (message,) = await consumer.receive()
            cluster.fault(COMMIT, unanswered)
            cluster.fault(Method.PRODUCER_FENCE, *[unanswered] * 100)
            with pytest.raises(OutcomeUnknown):
                async with message.process():
                    await transact(client, b"v", acks=[message], timeout=SHORT_S)
        assert (cluster.count(Method.QUEUE_ACK), cluster.count(Method.QUEUE_RETURN)) == (0, 0)
        assert (message.is_settled, consumer.status.handling) == (False, 0)
        cluster.late[0]()
        await asyncio.sleep(0.01)
        assert visible(cluster) == [b"v"], "its lease had not ended: all of it happens, once"


async def test_a_handler_that_ends_after_the_last_hope_keeps_no_lease() -> None:
    """Nobody will ever know: there is nothing to wait for any more."""
    async with one_message() as (cluster, client, consumer, message):
        cluster.fault(COMMIT, unanswered)
        cluster.fault(Method.PRODUCER_FENCE, *[unanswered] * 100)
        async with message.process():
            with pytest.raises(OutcomeUnknown):
                await transact(client, b"v", acks=[message], timeout=SHORT_S)
            assert client._atomics is not None
            await client._atomics.aclose()
            await asyncio.sleep(0.01)
        assert (message.is_settled, consumer.status.handling) == (False, 0)
        assert (cluster.count(Method.QUEUE_ACK), cluster.count(Method.QUEUE_RETURN)) == (0, 0)


async def test_acknowledgements_alone_of_unknown_outcome_are_given_back() -> None:
    """Nothing was sent: whatever became of them, to handle them again is harmless."""
    async with one_message() as (cluster, client, consumer, message):
        cluster.fault(COMMIT, unanswered)
        with pytest.raises(OutcomeUnknown):
            async with message.process():
                await transact(client, acks=[message], timeout=SHORT_S)
        (again,) = await consumer.receive(wait=5)
        assert again.attempts == 2


async def test_a_consumer_that_is_closed_in_the_block_refuses_the_transaction() -> None:
    """What it had is given back, so nothing may be sent for it."""
    async with one_message() as (cluster, client, consumer, message):
        with pytest.raises(StaleLease, match="closed"):
            await transact_round(client, message, then=consumer.aclose)
        assert (visible(cluster), cluster.count(COMMIT)) == ([], 0)
        assert consumer.status.handling == 0


async def test_a_commit_that_nobody_takes_gives_the_message_back() -> None:
    """Time is over, and nothing was sent."""
    async with one_message() as (cluster, client, consumer, message):
        cluster.fault(Method.PRODUCER_INIT, *NOT_YET)
        with pytest.raises(Unavailable):
            async with message.process():
                await transact(client, b"v", acks=[message], timeout=SHORT_S)
        (again,) = await consumer.receive(wait=5)
        assert (again.attempts, visible(cluster)) == (2, [])
