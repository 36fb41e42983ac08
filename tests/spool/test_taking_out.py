"""What is taken out of a spool is in it until the caller has it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chaos.sim.disk import SimDisk
from raftlog import BlockingSpool, Spool, errors, sync
from raftlog.client.catalog import Queues
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, fake_cluster, refused, until
from tests.spool.test_spool import spool_on, values

pytestmark = pytest.mark.asyncio
COUNT = 30
BYTES_MAX = 30_000
"""Some files."""


@asynccontextmanager
async def standing_still(disk: SimDisk, cluster: FakeCluster) -> AsyncIterator[Spool]:
    """Open a spool with records for a topic that is not there."""
    async with spool_on(disk, cluster.seeds, bytes_max=BYTES_MAX) as spool:
        for value in values(spool.status.records, COUNT):
            await spool.send("nowhere", value * 300, key=b"k")
        with pytest.raises(errors.TopicNotFound):
            await spool.flush(timeout=5)
        yield spool


async def left_in(disk: SimDisk) -> int:
    """Open it again; return how many records it holds."""
    async with spool_on(disk, bytes_max=BYTES_MAX) as spool:
        return spool.status.records


class Stop(Exception):
    """The caller could not keep them."""


async def test_a_block_that_fails_removes_nothing() -> None:
    """Nor one that is cancelled; and they can be taken out again."""
    disk = SimDisk()
    async with fake_cluster(1, orders=1) as cluster, standing_still(disk, cluster) as spool:
        records = []
        with pytest.raises(Stop):
            async with spool.take_out("nowhere") as records:
                raise Stop
        assert len(records) == COUNT
        assert spool.status.records == COUNT

        async def hold() -> None:
            async with spool.take_out("nowhere"):
                await asyncio.sleep(60)

        holding = asyncio.create_task(hold())
        await asyncio.sleep(0.05)
        with pytest.raises(errors.BadRequest):  # in somebody's hand
            await spool.retry("nowhere")
        holding.cancel()
        await asyncio.wait([holding])
        assert spool.status.records == COUNT
        await spool.retry("nowhere")
        with pytest.raises(errors.TopicNotFound):
            await spool.flush(timeout=5)
        async with spool.take_out("nowhere") as records:
            killed = disk.fork()
        assert spool.status.records == 0
    assert [one.record.value for one in records] == [each * 300 for each in values(0, COUNT)]
    assert await left_in(disk) == 0
    killed.generation += 1
    assert await left_in(killed) == COUNT


async def test_cancelled_at_the_end_of_the_block_it_is_whole() -> None:
    """Wherever that meets it: all of them are gone, and the topic stands still no more."""
    for turns in range(8):
        disk = SimDisk()
        async with fake_cluster(1, orders=1) as cluster, standing_still(disk, cluster) as spool:
            has_ended = asyncio.Event()

            async def take(spool: Spool = spool, ended: asyncio.Event = has_ended) -> None:
                async with spool.take_out("nowhere"):
                    ended.set()

            taking = asyncio.create_task(take())
            await has_ended.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            taking.cancel()
            await asyncio.wait([taking])
            left = spool.status.records
            assert left == 0
            assert spool.status.stuck == {}
        assert await left_in(disk) == 0


@pytest.mark.parametrize("at", range(8))
async def test_a_disk_that_fails_at_the_end_of_the_block_loses_nothing(at: int) -> None:
    """The caller has them; the spool may have them still."""
    disk = SimDisk()
    left = at
    is_ending = has_failed = False

    def fail(_call: str, _path: str) -> None:
        nonlocal left, has_failed
        left -= is_ending
        if left < 0:
            has_failed = True
            raise OSError(5, "broken")

    async with fake_cluster(1, orders=1) as cluster:
        async with standing_still(disk, cluster) as spool:
            disk.on_operation = fail
            try:
                async with spool.take_out("nowhere") as records:
                    is_ending = True
            except errors.StorageFailed:
                assert has_failed
            assert len(records) == COUNT
            disk.on_operation = None
        assert await left_in(disk) in (0, COUNT)


async def test_closed_in_the_block_it_keeps_them() -> None:
    """Nobody could write down that they are gone."""
    disk = SimDisk()
    async with fake_cluster(1, orders=1) as cluster, standing_still(disk, cluster) as spool:
        with pytest.raises(errors.Closed):
            async with spool.take_out("nowhere"):
                await spool.aclose()
    assert await left_in(disk) == COUNT


async def test_a_thread_that_is_interrupted_keeps_its_loop() -> None:
    """The block is left by what no loop survives; the spool holds the records, and goes on."""

    def interrupt(first: Callable[[], None]) -> None:
        first()
        raise KeyboardInterrupt

    def work(seeds: list[str]) -> None:
        with (
            sync.Client(seeds) as client,
            BlockingSpool(client, "spool", files=SimDisk().files()) as spool,
        ):
            spool.send("nowhere", b"1")
            with pytest.raises(errors.TopicNotFound):
                spool.flush(timeout=5)
            with pytest.raises(KeyboardInterrupt), spool.take_out("nowhere"):
                raise KeyboardInterrupt
            assert spool.status.records == 1
            with pytest.raises(KeyboardInterrupt), spool.take_out("nowhere"):
                interrupt(spool.close)

    async with fake_cluster(1, orders=1) as cluster:
        await asyncio.to_thread(work, cluster.seeds)


async def stand_still_with_a_batch(spool: Spool, cluster: FakeCluster) -> None:
    """Let queue 0 have a batch whose answer is lost, and queue 1 take no other producer."""
    append = spool._cluster.append

    async def lost(queue: int, batch: Any) -> Any:
        await append(queue, batch)
        raise errors.Unavailable("the answer was lost")

    spool._cluster.append = lost  # type: ignore[method-assign]
    await spool.send("orders", b"a", queue=0)
    await until(lambda: cluster.values("orders") == [[b"a"], []])
    cluster.fault(Method.PRODUCER_FENCE, refused(errors.LimitReached("full")))
    await spool.send("orders", b"x", queue=1)
    await until(lambda: "orders" in spool.status.stuck)
    spool._cluster.append = append  # type: ignore[method-assign]


async def test_a_number_of_what_was_taken_out_is_not_given_to_another_record() -> None:
    """The queue has it, perhaps: it would take the next batch for the one that it has."""
    async with (
        fake_cluster(1, orders=2) as cluster,
        spool_on(SimDisk(), cluster.seeds) as spool,
    ):
        await stand_still_with_a_batch(spool, cluster)
        async with spool.take_out("orders") as taken:
            told = [(each.record.value, each.may_be_stored) for each in taken]
        assert told == [(b"a", True), (b"x", False)]
        spooled = await spool.send("orders", b"new", queue=0)
        receipt = await spooled.stored(timeout=5)
        assert (receipt.offset, receipt.duplicate) == (1, False)
        assert cluster.values("orders") == [[b"a", b"new"], []]


async def test_what_is_taken_out_in_the_middle_of_a_round_waits_for_the_next_one() -> None:
    """The round has begun with what was there before; it asks for another topic's queues."""
    is_asked, may_answer = asyncio.Event(), asyncio.Event()
    async with (
        fake_cluster(1, orders=2) as cluster,
        spool_on(SimDisk(), cluster.seeds) as spool,
    ):
        await spool.send("gone", b"g")
        await until(lambda: "gone" in spool.status.stuck)
        await stand_still_with_a_batch(spool, cluster)
        queues = spool._cluster.queues

        async def slow(topic: str) -> Queues:
            if topic == "gone":
                is_asked.set()
                await may_answer.wait()
            return await queues(topic)

        spool._cluster.queues = slow  # type: ignore[method-assign]
        await spool.retry("gone")
        await is_asked.wait()
        async with spool.take_out("orders"):
            pass
        spooled = await spool.send("orders", b"new", queue=0)
        may_answer.set()
        receipt = await spooled.stored(timeout=5)
        assert (receipt.offset, receipt.duplicate) == (1, False)
        assert cluster.values("orders") == [[b"a", b"new"], []]
