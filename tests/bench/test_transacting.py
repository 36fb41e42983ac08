"""``raftlog bench transactions``: what it counts was committed, and what is not there it says."""

from collections.abc import Awaitable, Callable

import pytest
from msgspec import structs

from raftlog.client.client import Client
from raftlog.client.halves import Half
from raftlog.client.receipts import Receipt
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.target import Target
from raftlog.testing.bench.transacting import run_transactions
from tests.client.fake_cluster import fake_cluster

pytestmark = pytest.mark.asyncio
OPTIONS = Options(in_flight=8, count=100, duration_s=0)
COMMIT = Half.commit


async def report_of() -> Report:
    """Run it on a shard without files."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        report = await run_transactions(
            Target(client, cluster.seeds, None), OPTIONS, lambda _: None
        )
        assert not await client.transactions.list(), "it leaves something open"
        assert not await client.topics.list(), "it leaves its topic"
        return report


async def test_all_are_committed_and_read_back() -> None:
    """The figures are of what was asked for."""
    report = await report_of()
    assert report.verified
    assert (report.scenario, report.in_flight) == ("transactions", 8)
    assert report.records >= 100
    assert report.p50_ms is not None
    assert 0 < report.p50_ms <= report.p99_ms  # type: ignore[operator]


async def shifted(half: Half) -> Receipt:
    """Commit, and tell another offset."""
    receipt = await COMMIT(half)
    return structs.replace(receipt, offset=receipt.offset + 1)  # type: ignore[type-var]


async def not_done(half: Half) -> Receipt:
    """Roll back, and tell a receipt."""
    await half.rollback()
    return Receipt(half.topic, half.queue, 0, 1, 1, "fsync")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [shifted, not_done])
async def test_a_commit_that_is_not_where_it_is_told_is_seen(
    monkeypatch: pytest.MonkeyPatch, wrong: Callable[[Half], Awaitable[Receipt]]
) -> None:
    """It believes no receipt."""
    monkeypatch.setattr(Half, "commit", wrong)
    assert not (await report_of()).verified
