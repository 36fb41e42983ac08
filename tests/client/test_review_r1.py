"""Findings of a review: each test fails as long as its finding stands."""

import asyncio
import threading

import pytest

from raftlog.client import checking
from raftlog.client.checker_threads import InThreads
from raftlog.client.checking import UndecidedMessage, Verdict
from raftlog.client.client import Client
from raftlog.wire.frame import Method
from tests.client.fake_cluster import fake_cluster, unanswered, until

pytestmark = pytest.mark.asyncio


async def test_closing_ends_a_commit_that_is_under_way() -> None:
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        producer = client.transactional_producer("b-1", group="b")
        half = await producer.half("orders", b"v")
        cluster.fault(Method.TRANSACTIONS_DECIDE, *[unanswered] * 10)
        commit = asyncio.ensure_future(half.commit())
        await until(lambda: bool(cluster.late))
        await producer.aclose()
        done, _ = await asyncio.wait({commit}, timeout=4)
        commit.cancel()
        assert done, "it waits on, for its whole timeout, for a task that was cancelled"


async def test_closing_ends_a_half_that_is_under_way() -> None:
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        producer = client.transactional_producer("b-1", group="b")
        await producer.half("orders", b"v")
        cluster.fault(Method.HALVES_STAGE, *[unanswered] * 10)
        half = asyncio.ensure_future(producer.half("orders", b"w"))
        await until(lambda: bool(cluster.late))
        await producer.aclose()
        done, _ = await asyncio.wait({half}, timeout=4)
        half.cancel()
        assert done


async def test_a_slow_checker_s_answer_is_not_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a bit longer than the limit, every time: it is called anew every time."""
    monkeypatch.setattr(checking, "CHECK_LIMIT_S", 0.1)
    calls = []

    def check(_: UndecidedMessage) -> Verdict:
        calls.append(1)
        threading.Event().wait(0.15)
        return Verdict.COMMIT

    ask = InThreads(check)
    message = UndecidedMessage("orders", 0, None, b"v", (), 0, None, "7.1", "b-1", 1)
    verdicts = []
    for _ in range(5):
        try:
            verdicts.append(await ask(message))
        except TimeoutError:
            verdicts.append(None)
        await asyncio.sleep(0.2)  # 30 s
    assert Verdict.COMMIT in verdicts, (verdicts, len(calls))


async def test_nothing_is_staged_after_closing() -> None:
    """What was throttled is asked again: not by a producer that was closed meanwhile."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        await client.topics.create("orders", queues=1)
        producer = client.transactional_producer("b-1", group="b")
        await producer.half("orders", b"v")
        await client.quotas.set(topic="orders", records_per_s=1)
        halves = [asyncio.ensure_future(producer.half("orders", b"w")) for _ in range(4)]
        await asyncio.sleep(0.2)
        await producer.aclose()
        await asyncio.sleep(0)
        rows = len(cluster.machine.state.transactions.table.rows)
        await asyncio.wait(halves, timeout=5)
        later = len(cluster.machine.state.transactions.table.rows)
        told = [
            "waits" if not each.done() else type(each.exception() or each.result()).__name__
            for each in halves
        ]
        for each in halves:
            each.cancel()
        assert (later, "waits" in told) == (rows, False), (rows, later, told)
