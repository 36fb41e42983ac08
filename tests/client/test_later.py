"""Delayed messages of the client: when, receipts, retries, cancelling, listing."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from raftlog.base.errors import (
    BadDelay,
    BadRequest,
    Closed,
    NotStored,
    OutcomeUnknown,
    TopicNotFound,
    WrongQueue,
)
from raftlog.broker.timetable import PassTime
from raftlog.client.client import Client
from raftlog.client.later import (
    DELAY_LEVELS,
    CancelOutcome,
    DelayedReceipt,
    Later,
    later,
    parse_handle,
)
from raftlog.wire.frame import Method
from tests.client.fake_cluster import answer_lost, fake_cluster, request_late, unanswered

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("delay", "deliver_at", "expected"),
    [
        (timedelta(seconds=1), None, Later(1_000, relative=True)),
        (0.0015, None, Later(2, relative=True)),
        (0, None, Later(0, relative=True)),
        ("30s", None, Later(30_000, relative=True)),
        ("2h", None, Later(7_200_000, relative=True)),
        (40 * DAY, None, Later(40 * 86_400_000, relative=True)),
        (None, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), Later(1_000, relative=False)),
    ],
)
def test_a_time_is_said_in_several_ways(
    delay: Any, deliver_at: datetime | None, expected: Later
) -> None:
    """Seconds, a timedelta, a level, a moment."""
    assert later(delay, deliver_at) == expected


def test_a_time_that_makes_no_sense_is_refused_before_anything_is_sent() -> None:
    """By its kind: what to do next differs."""
    for delay in (-1, timedelta(seconds=-0.001), 40 * DAY + timedelta(milliseconds=1), "3s", ""):
        with pytest.raises(BadDelay):
            later(delay, None)
    with pytest.raises(BadDelay):
        later(float("nan"), None)
    for both in ((None, None), (1, datetime.now(UTC))):
        with pytest.raises(BadRequest):
            later(*both)
    with pytest.raises(ValueError, match="time zone"):
        later(None, datetime(2030, 1, 1))  # noqa: DTZ001  (what is refused)


def test_the_levels_are_the_eighteen_of_rocketmq() -> None:
    """In the order of their numbers."""
    assert len(DELAY_LEVELS) == 18
    assert next(iter(DELAY_LEVELS)) == "1s"
    assert list(DELAY_LEVELS)[13] == "10m"
    assert list(DELAY_LEVELS.values()) == sorted(DELAY_LEVELS.values())


@pytest.mark.parametrize("handle", ["", "1.2", "1.2.3.4", "a.b.c", "-1.2.3", "1.²5.3", "9" * 99])
def test_a_handle_that_is_none_is_refused(handle: str) -> None:
    """It is a text that may have been kept anywhere."""
    with pytest.raises(BadRequest):
        parse_handle(handle)


@pytest.mark.asyncio
async def test_it_is_stored_at_once_and_visible_when_it_is_due() -> None:
    """The receipt says when."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        before = datetime.now(UTC)
        receipt = await client.send_later("orders", b"v", delay=0.05, key=b"k")
        assert timedelta(seconds=0.04) < receipt.due - before < timedelta(seconds=5)
        assert (receipt.topic, receipt.queue, receipt.duplicate) == ("orders", 0, False)
        assert cluster.values("orders") == [[]]
        (queue,) = (await client.topics.describe("orders")).queues
        assert (queue.delayed, queue.end_offset) == (1, 0)
        await asyncio.sleep(0.06)
        await cluster.propose(PassTime())
        assert cluster.values("orders") == [[b"v"]]
        assert await client.delayed.list("orders") == []


@pytest.mark.asyncio
async def test_a_moment_that_is_past_is_now() -> None:
    """No error, no wait."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await client.send_later("orders", b"v", deliver_at=datetime(2001, 1, 1, tzinfo=UTC))
        await cluster.propose(PassTime())
        assert cluster.values("orders") == [[b"v"]]


@pytest.mark.asyncio
async def test_what_the_broker_refuses_is_told() -> None:
    """And the next one is sent all the same."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        with pytest.raises(BadDelay):
            await client.send_later("orders", b"v", deliver_at=datetime(2999, 1, 1, tzinfo=UTC))
        assert (await client.send("orders", b"w")).offset == 0
        with pytest.raises(TopicNotFound):
            await client.send_later("nothing", b"v", delay=1)
        with pytest.raises(WrongQueue):
            await client.send_later("orders", b"v", delay=1, queue=7)
        producer = client.producer()
        await producer.aclose()
        with pytest.raises(Closed):
            await producer.send_later("orders", b"v", delay=1)


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", [answer_lost, request_late])
async def test_what_is_sent_again_keeps_its_handle(fault: Any) -> None:
    """Stored once, whether it was the answer or the request that was lost."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.DELAYED_APPEND, fault)
        receipt = await client.send_later("orders", b"v", delay=0)
        assert cluster.count(Method.DELAYED_APPEND) == 2
        for late in cluster.late:
            late()
        await cluster.propose(PassTime())
        assert cluster.values("orders") == [[b"v"]]
        assert receipt.duplicate == (fault is answer_lost)
        assert await client.delayed.cancel(receipt) is CancelOutcome.DELIVERED


@pytest.mark.asyncio
async def test_an_unknown_outcome_is_resolved_to_a_receipt_with_its_handle() -> None:
    """Else what was stored could not be cancelled any more."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        cluster.fault(Method.DELAYED_APPEND, unanswered)
        with pytest.raises(OutcomeUnknown) as unknown:
            await client.send_later("orders", b"v", delay=100, timeout=0.05)
        with pytest.raises(NotStored):
            await client.resolve(unknown.value.ticket)
        cluster.fault(Method.DELAYED_APPEND, _kept)
        with pytest.raises(OutcomeUnknown) as unknown:
            await client.send_later("orders", b"w", delay=100, timeout=0.05)
        receipt = await client.resolve(unknown.value.ticket)
        assert isinstance(receipt, DelayedReceipt)
        assert await client.delayed.cancel(receipt.handle) is CancelOutcome.CANCELLED


def _kept(node: Any, request: Any, handler: Any) -> None:
    """Carry it out; never answer."""
    del node
    request._connection = None
    handler(request)


@pytest.mark.asyncio
async def test_a_cancel_has_the_same_answer_again() -> None:
    """Its first answer may have been lost."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        receipt = await client.send_later("orders", b"v", delay=0.01)
        cluster.fault(Method.DELAYED_CANCEL, answer_lost)
        assert await client.delayed.cancel(receipt) is CancelOutcome.CANCELLED
        await asyncio.sleep(0.02)
        assert await client.delayed.cancel(receipt) is CancelOutcome.CANCELLED
        assert cluster.values("orders") == [[]]
        other = receipt.handle.replace(".", ".9", 1)
        assert await client.delayed.cancel(other) is not CancelOutcome.CANCELLED
        await client.topics.delete("orders")
        with pytest.raises(WrongQueue):
            await client.delayed.cancel(receipt)


@pytest.mark.asyncio
async def test_what_is_pending_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page, queue by queue, with the handle to cancel by."""
    monkeypatch.setattr("raftlog.client.later.PAGE", 2)
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        sent = [
            await client.send_later("orders", b"v", delay=100 - number, queue=number % 2)
            for number in range(7)
        ]
        found = await client.delayed.list("orders", limit=100)
        assert [each.handle for each in found] == [each.handle for each in sent[::2] + sent[1::2]]
        assert found[0].due == sent[0].due
        assert len(await client.delayed.list("orders", limit=5)) == 5
        with pytest.raises(TopicNotFound):
            await client.delayed.list("nothing")
