"""``raftlog bench atomic``: it counts what was committed as a whole, and says what was not."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec import structs

from raftlog.client.atomic import AtomicTransaction
from raftlog.client.atomic_dispatch import IDENTITIES_MAX
from raftlog.client.client import Client
from raftlog.testing.bench import processing
from raftlog.testing.bench.ledger import Ledger, Values
from raftlog.testing.bench.report import Options, Report
from raftlog.testing.bench.target import Comparison, Target, compare
from tests.client.fake_cluster import fake_cluster

pytestmark = pytest.mark.asyncio
OPTIONS = Options(in_flight=IDENTITIES_MAX + 2, count=100)
END = AtomicTransaction.__aexit__
SEND = AtomicTransaction.send


async def report_of(options: Options = OPTIONS) -> Report:
    """Run it on a shard without files."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        target = Target(client, cluster.seeds, None)
        report = await processing.run_atomic(target, options, lambda _: None)
        assert not await client.groups.list(), "it leaves a group"
        assert not await client.topics.list(), "it leaves its topics"
        return report


async def test_every_message_is_processed_and_read_back() -> None:
    """By more consumers than one client may have transactions; the figures are of all of them."""
    report = await report_of()
    assert report.verified
    assert (report.scenario, report.in_flight, report.records) == ("atomic", 18, 100)
    assert (report.notes["torn"], report.notes["left"]) == (0, 0)
    assert report.p50_ms is not None
    assert 0 < report.p50_ms <= report.p99_ms  # type: ignore[operator]


async def test_there_may_be_less_to_process_than_may_be_under_way() -> None:
    """A consumer without a message would wait for one."""
    report = await report_of(Options(in_flight=8, count=3))
    assert (report.verified, report.records) == (True, 3)


async def shifted(tx: AtomicTransaction, *why: Any) -> None:
    """Commit, and tell another offset."""
    await END(tx, *why)
    tx.receipts = tuple(structs.replace(each, offset=each.offset + 1) for each in tx.receipts)


async def torn(tx: AtomicTransaction, *why: Any) -> None:
    """Commit, and tell two indexes."""
    await END(tx, *why)
    first, second = tx.receipts
    tx.receipts = (first, structs.replace(second, index=first.index + 1))


def sent_otherwise(tx: AtomicTransaction, topic: str, value: bytes | None) -> None:
    """Send another value."""
    SEND(tx, topic, (value or b"")[:-1] + b"!")


def offsets_kept(*_: Any) -> None:
    """Leave the offset out."""


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("__aexit__", shifted),
        ("__aexit__", torn),
        ("send", sent_otherwise),
        ("commit_offsets", offsets_kept),
    ],
)
async def test_what_was_not_done_as_a_whole_is_seen(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: Callable[..., Any]
) -> None:
    """It believes no receipt."""
    monkeypatch.setattr(AtomicTransaction, name, wrong)
    assert not (await report_of()).verified


async def test_a_record_that_is_there_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody was told of the second one."""

    async def after_one_more(target: Target, topics: Sequence[str], ledger: Ledger) -> Comparison:
        await target.client.send(topics[0], Values(OPTIONS.size).make(7))
        return await compare(target, topics, ledger)

    monkeypatch.setattr(processing, "compare", after_one_more)
    assert not (await report_of()).verified


async def test_a_message_that_does_not_come_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives up, and says so."""
    monkeypatch.setattr(processing, "PATIENCE_S", 0.2)
    fill = processing._Run.fill

    async def more(run: Any, client: Client, topic: str, numbers: range) -> int:
        return 1 + await fill(run, client, topic, numbers[1:])

    monkeypatch.setattr(processing._Run, "fill", more)
    report = await report_of()
    assert (report.verified, report.records) == (False, 100 - OPTIONS.in_flight)
