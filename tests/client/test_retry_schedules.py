"""Schedules of waits that grow: as lists that a queue-style group takes."""

import asyncio
from datetime import timedelta

import pytest

import raftlog
from raftlog import exponential_retry
from raftlog.base.errors import BadDelay, BadRequest
from raftlog.base.limits import RETRY_DELAYS_MAX
from raftlog.client.client import Client
from tests.client.fake_cluster import fake_cluster


def in_seconds(waits: list[timedelta]) -> list[float]:
    return [wait.total_seconds() for wait in waits]


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        (exponential_retry(1, limit=60), [1, 2, 4, 8, 16, 32, 60]),
        (exponential_retry(1, limit=64), [1, 2, 4, 8, 16, 32, 64]),
        (exponential_retry(0.5, factor=10, limit=50), [0.5, 5, 50]),
        (exponential_retry(timedelta(minutes=1), limit=timedelta(minutes=3)), [60, 120, 180]),
        (exponential_retry(1, count=4), [1, 2, 4, 8]),
        (exponential_retry(1, limit=3, count=9), [1, 2, 3]),
        (exponential_retry(0.001, factor=1.5, count=4), [0.001, 0.002, 0.002, 0.003]),
        (exponential_retry(7, factor=1), [7]),
        (exponential_retry(7, limit=7), [7]),
        (exponential_retry(7, factor=float("inf"), limit=9), [7, 9]),
    ],
)
def test_waits_grow_up_to_the_limit(waits: list[timedelta], expected: list[float]) -> None:
    """And the list ends there: a group repeats its last one. They are rounded once each."""
    assert in_seconds(waits) == expected


def test_the_longest_schedule_is_one_that_a_group_takes() -> None:
    """However slowly it grows, and without a limit that anybody has named."""
    waits = exponential_retry(0.001, factor=1.0001)
    assert len(waits) == RETRY_DELAYS_MAX
    assert in_seconds(exponential_retry(1))[-1] == 24 * 3600


@pytest.mark.parametrize(
    ("first", "options", "kind"),
    [
        (0, {}, BadDelay),
        (-1, {}, BadDelay),
        (0.0001, {}, BadDelay),
        (25 * 3600, {}, BadDelay),
        (float("nan"), {}, BadDelay),
        (10, {"limit": 5}, BadDelay),
        (10, {"limit": 25 * 3600}, BadDelay),
        (10, {"factor": 0.5}, BadRequest),
        (10, {"factor": float("nan")}, BadRequest),
        (10, {"count": 0}, BadRequest),
        (10, {"count": 65}, BadRequest),
    ],
)
def test_a_schedule_that_can_not_be_is_refused(
    first: float, options: dict[str, float], kind: type[Exception]
) -> None:
    """Where it is written, not when the group is opened."""
    with pytest.raises(kind):
        exponential_retry(first, **options)  # type: ignore[arg-type]


def test_a_group_takes_it() -> None:
    """As the list that it is."""

    async def run() -> None:
        waits = raftlog.exponential_retry(1, limit=60)
        async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
            async with client.queue_consumer("work", "orders", retry=waits):
                found = await client.queue_groups.describe("work")
            assert found.settings.retry == tuple(waits)
            longest = exponential_retry(0.001, factor=1.0001)
            await client.queue_groups.open("work", retry=longest)

    asyncio.run(run())
