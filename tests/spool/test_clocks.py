"""A spool on a machine whose clock goes back: what is not known is not guessed."""

import asyncio
from random import Random
from typing import Any

import pytest

from chaos.sim.disk import SimDisk
from raftlog import Spool, errors
from raftlog.base.clock import SystemClock
from raftlog.client.catalog import Queues
from raftlog.spool import forwarder
from raftlog.wire.frame import Method
from tests.client.fake_cluster import (
    FakeCluster,
    FakeNode,
    answer_lost,
    fake_cluster,
    request_late,
)
from tests.spool.test_spool import spool_on

pytestmark = pytest.mark.asyncio


async def leave_behind(disk: SimDisk, cluster: FakeCluster, fault: Any, **options: Any) -> None:
    """End a spool while a batch is under way."""
    async with spool_on(disk, cluster.seeds, **options) as spool:
        await send_at_last(spool, cluster, fault)


async def send_at_last(spool: Spool, cluster: FakeCluster, fault: Any) -> None:
    """Wait until a batch is under way, and no longer."""
    cluster.fault(Method.APPEND, fault)
    before = cluster.count(Method.APPEND)
    await spool.send("orders", b"a", key=b"k")
    async with asyncio.timeout(5):
        while cluster.count(Method.APPEND) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_clock_that_went_back_makes_nobody_guess() -> None:
    """Stored, and forgotten by the queue: sent again it would be there twice."""
    disk = SimDisk()
    now_ms = 1_800_000_000_000
    options = {"now_ms": lambda: now_ms}
    async with fake_cluster(1, orders=1) as cluster:
        await leave_behind(disk, cluster, answer_lost, **options)
        rows = cluster.machine.producers
        for key in list(rows.table.rows):
            rows._forget(key)
        now_ms -= 400 * 24 * 3600 * 1000
        async with spool_on(disk, cluster.seeds, **options) as spool:
            with pytest.raises(errors.OutcomeUnknown, match="clock has gone back"):
                await spool.flush(timeout=5)
            assert spool.status.records == 1
            await spool.settle_by_hand("orders", 0, stored=True)
            await spool.flush(timeout=5)
        assert cluster.values("orders") == [[b"a"]]


async def test_a_clock_that_comes_right_again_needs_no_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that begins each time in 1970, until it hears the time."""
    monkeypatch.setattr(forwarder, "RETRY_S", 0.01)
    disk = SimDisk()
    now_ms = 1_800_000_000_000
    options = {"now_ms": lambda: now_ms}
    async with fake_cluster(1, orders=1) as cluster:
        await leave_behind(disk, cluster, request_late, **options)
        right, now_ms = now_ms + 60_000, 5_000
        async with spool_on(disk, cluster.seeds, **options) as spool:
            with pytest.raises(errors.OutcomeUnknown):
                await spool.flush(timeout=5)
            await asyncio.sleep(0.05)
            assert isinstance(spool.status.stuck["orders"], errors.OutcomeUnknown)
            now_ms = right
            async with asyncio.timeout(5):
                while spool.status.records:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        cluster.heal()
        assert cluster.values("orders") == [[b"a"]]


@pytest.mark.parametrize("forgets", [False, True])
async def test_what_was_before_a_batch_tells_whether_its_queue_has_forgotten(
    *, forgets: bool
) -> None:
    """Then no clock is asked."""
    disk = SimDisk()
    now_ms = 1_800_000_000_000
    options = {"now_ms": lambda: now_ms}
    async with fake_cluster(1, orders=1) as cluster:
        async with spool_on(disk, cluster.seeds, **options) as spool:
            await spool.send("orders", b"before", key=b"k")
            await spool.flush(timeout=5)
            await send_at_last(spool, cluster, answer_lost if forgets else request_late)
        if forgets:
            rows = cluster.machine.producers
            for key in list(rows.table.rows):
                rows._forget(key)
        else:
            now_ms -= 400 * 24 * 3600 * 1000
        async with spool_on(disk, cluster.seeds, **options) as spool:
            if forgets:
                with pytest.raises(errors.OutcomeUnknown):
                    await spool.flush(timeout=5)
            else:
                await spool.flush(timeout=5)
        cluster.heal()
        assert cluster.values("orders") == [[b"before", b"a"]]


@pytest.mark.parametrize("ends", [False, True])
async def test_a_queue_that_was_idle_before_a_batch_has_not_forgotten_the_batch(
    monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    """It is sent something less than once a week: the first record then is no old one."""
    disk = SimDisk()
    passed_ms = 0

    class Later(SystemClock):
        def wall_ms(self) -> int:
            return super().wall_ms() + passed_ms

    monkeypatch.setattr("tests.client.fake_cluster.SystemClock", Later)
    options = {"now_ms": Later().wall_ms}
    async with fake_cluster(1, orders=1, other=1) as cluster:
        async with spool_on(disk, cluster.seeds, **options) as spool:
            await spool.send("orders", b"before", key=b"k")
            await spool.flush(timeout=5)
            for _ in range(8):
                passed_ms += 24 * 3600 * 1000
                await spool.send("other", b"daily")
                await spool.flush(timeout=5)
            if ends:
                await send_at_last(spool, cluster, request_late)
            else:
                await spool.send("orders", b"a", key=b"k")
                await spool.flush(timeout=5)
        cluster.heal()
        async with spool_on(disk, cluster.seeds, **options) as spool:
            await spool.flush(timeout=5)
        assert cluster.values("orders") == [[b"before", b"a"]]


async def test_a_round_that_failed_does_not_make_a_queue_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was idle for 8 days; the first try to begin a batch fails before it is written down."""
    passed_ms = 0

    class Later(SystemClock):
        def wall_ms(self) -> int:
            return super().wall_ms() + passed_ms

    monkeypatch.setattr("tests.client.fake_cluster.SystemClock", Later)
    async with fake_cluster(1, orders=1, other=1) as cluster:
        async with spool_on(SimDisk(), cluster.seeds, now_ms=Later().wall_ms) as spool:
            await spool.send("orders", b"before", queue=0)
            await spool.flush(timeout=5)
            for _ in range(8):
                passed_ms += 24 * 3600 * 1000
                await spool.send("other", b"daily")
                await spool.flush(timeout=5)
            queues = spool._cluster.queues
            has_failed = False

            async def fails_once(topic: str) -> Queues:
                nonlocal has_failed
                if topic == "other" and not has_failed:
                    has_failed = True
                    raise errors.Unavailable("no leader")
                return await queues(topic)

            spool._cluster.queues = fails_once  # type: ignore[method-assign]
            await asyncio.gather(spool.send("orders", b"a", queue=0), spool.send("other", b"more"))
            await spool.flush(timeout=5)
        assert cluster.values("orders") == [[b"before", b"a"]]


@pytest.mark.parametrize("has_leader", [True, False])
async def test_a_machine_that_slept_for_a_week_in_an_append_does_not_send_it_again(
    monkeypatch: pytest.MonkeyPatch, *, has_leader: bool
) -> None:
    """The seconds of one question do not pass in sleep; nor those in which it seeks a leader."""
    passed_ms = 0

    class Later(SystemClock):
        def wall_ms(self) -> int:
            return super().wall_ms() + passed_ms

    def stored_and_asleep(node: FakeNode, request: Any, handler: Any) -> None:
        connection, request._connection = request._connection, None
        handler(request)
        cluster, loop = node.cluster, asyncio.get_running_loop()

        def wakes() -> None:
            nonlocal passed_ms
            passed_ms = 8 * 24 * 3600 * 1000
            cluster.lead("n1")
            connection.abort()

        if not has_leader:
            cluster.lead("nobody")
            loop.call_soon(connection.abort)
        loop.call_later(0.05 if has_leader else 0.7, wakes)

    monkeypatch.setattr("tests.client.fake_cluster.SystemClock", Later)
    async with fake_cluster(1, orders=1) as cluster:
        cluster.fault(Method.APPEND, stored_and_asleep)
        async with spool_on(SimDisk(), cluster.seeds, now_ms=Later().wall_ms) as spool:
            await spool.send("orders", b"a", queue=0)
            with pytest.raises(errors.OutcomeUnknown):
                await spool.flush(timeout=5)
            assert cluster.count(Method.APPEND) == 1
        assert cluster.values("orders") == [[b"a"]]


async def test_copies_whose_clocks_lost_the_date_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one epoch each would take the receipts of the other one's records for its own."""
    monkeypatch.setattr(forwarder, "randrange", Random(3).randrange)
    disk = SimDisk()
    async with fake_cluster(1, orders=1) as cluster:
        async with spool_on(disk, cluster.seeds) as spool:
            await spool.send("orders", b"0")
            await spool.flush(timeout=5)
        for copy, value in ((disk.fork(), b"1"), (disk.fork(), b"2")):
            async with spool_on(copy, cluster.seeds, now_ms=lambda: 5_000) as spool:
                await spool.send("orders", value)
                try:
                    await spool.flush(timeout=5)
                except errors.Fenced:
                    assert spool.status.records == 1
                else:
                    assert value in cluster.values("orders")[0]
