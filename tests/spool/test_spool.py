"""The spool: nothing lost, nothing twice, in order, wherever it is cut off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from chaos.sim.disk import CrashKind, SimDisk
from raftlog import BlockingSpool, Client, Spool, errors, sync
from raftlog.client.ages import DECIDED_MS_MAX
from raftlog.spool import TakenRecord
from raftlog.wire.batch import Record
from raftlog.wire.frame import Method
from tests.client.fake_cluster import answer_lost, fake_cluster, refused, request_late

pytestmark = pytest.mark.asyncio
NOWHERE = "127.0.0.1:1"


@asynccontextmanager
async def spool_on(disk: SimDisk, seeds: Any = NOWHERE, **options: Any) -> AsyncIterator[Spool]:
    """Open the spool that is on ``disk``, with a client of its own, as a process has."""
    async with (
        Client(seeds, timeout=5) as client,
        Spool(client, "spool", files=disk.files(), **options) as spool,
    ):
        yield spool


def values(first: int, end: int) -> list[bytes]:
    """Return values in order."""
    return [b"%d" % number for number in range(first, end)]


async def test_sent_without_a_cluster_stored_in_order_when_there_is_one() -> None:
    """What is sent then queues behind what waits."""
    disk = SimDisk()
    async with spool_on(disk) as spool:
        for value in values(0, 20):
            await spool.send("orders", value, key=b"k", headers={"h": b"1"}, tag="t")
        status = spool.status
        assert (status.records, status.sent, status.stuck) == (20, 0, {})
        assert status.bytes > 0
        assert status.oldest_age is not None
        assert status.oldest_age >= timedelta(0)
    async with fake_cluster(1, orders=3) as cluster, spool_on(disk, cluster.seeds) as spool:
        last = await spool.send("orders", b"20", key=b"k")
        receipt = await last.stored(timeout=5)
        stored = cluster.values("orders")

        assert last.is_stored
        assert (spool.status.records, spool.status.sent, spool.status.oldest_age) == (0, 21, None)
    assert sorted(stored, key=len) == [[], [], values(0, 21)]
    assert (receipt.offset, receipt.durability, receipt.duplicate) == (20, "fsync", False)


class Cut:
    """Breaks the disk at one of its operations, before or after it."""

    def __init__(self, disk: SimDisk, at: int) -> None:
        self.left = at
        disk.on_operation = self

    def __call__(self, _call: str, _path: str) -> None:
        """Count, and break for ever."""
        self.left -= 1
        if self.left < 0:
            raise OSError(5, "broken")


@pytest.mark.parametrize("kind", [CrashKind.KEEP, CrashKind.LOSE, CrashKind.TORN])
@pytest.mark.parametrize("at", range(19))
async def test_cut_off_at_any_write_each_record_is_stored_once(at: int, kind: CrashKind) -> None:
    """Twice cut off at the same place, then let go on: the queue's fence tells the next one."""
    disk = SimDisk()
    async with spool_on(disk) as spool:
        for value in values(0, 3):
            await spool.send("orders", value, key=b"k")
    async with fake_cluster(1, orders=1) as cluster:
        for _ in range(2):
            Cut(disk, at)
            with suppress(errors.StorageFailed):
                async with spool_on(disk, cluster.seeds) as spool:
                    with suppress(TimeoutError):
                        await spool.flush(timeout=5)
            disk.on_operation = None
            disk.crash(Random(at), kind)
        async with spool_on(disk, cluster.seeds) as spool:
            await spool.flush(timeout=5)
            assert spool.status.records == 0

        assert cluster.values("orders") == [values(0, 3)]


@pytest.mark.parametrize("fault", [answer_lost, request_late, refused(errors.Unavailable("no"))])
@pytest.mark.parametrize("method", [Method.APPEND, Method.PRODUCER_FENCE, Method.PRODUCER_INIT])
async def test_a_lost_or_late_answer_is_asked_for_again(fault: Any, method: Method) -> None:
    """The batch carries its number, the fence its epoch."""
    async with fake_cluster(1, orders=1) as cluster, spool_on(SimDisk(), cluster.seeds) as spool:
        cluster.fault(method, fault)
        sent = await asyncio.gather(*(spool.send("orders", v, key=b"k") for v in values(0, 9)))
        receipts = [await one.stored(timeout=10) for one in sent]

        assert [receipt.offset for receipt in receipts] == list(range(9))
        assert cluster.values("orders") == [values(0, 9)]


async def test_killed_with_a_batch_under_way_the_fence_tells_what_became_of_it() -> None:
    """Stored and not known; and not stored."""
    for fault in (answer_lost, request_late):
        disk = SimDisk()
        async with fake_cluster(1, orders=1) as cluster:
            cluster.fault(Method.APPEND, fault)
            async with spool_on(disk, cluster.seeds) as spool:
                await spool.send("orders", b"0")
                async with asyncio.timeout(5):
                    while not cluster.count(Method.APPEND):  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
            async with spool_on(disk, cluster.seeds) as spool:
                await spool.send("orders", b"1")
                await spool.flush(timeout=5)
                cluster.heal()
                assert cluster.values("orders") == [[b"0", b"1"]], fault


async def test_a_fence_whose_answer_was_not_written_down_is_asked_again_alike() -> None:
    """The next one gets the same answer: it asks for the same epoch, not for its own."""
    disk = SimDisk()
    async with fake_cluster(1, orders=1) as cluster:
        cluster.fault(Method.APPEND, answer_lost)
        async with spool_on(disk, cluster.seeds) as spool:
            await spool.send("orders", b"0")
            async with asyncio.timeout(5):
                while not cluster.count(Method.APPEND):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)

        def no_notes(call: str, path: str) -> None:
            if path.endswith(".spool") and call == "write":
                raise OSError(5, "broken")

        for _ in range(2):
            disk.on_operation = no_notes
            async with spool_on(disk, cluster.seeds) as spool:
                with pytest.raises(errors.StorageFailed):
                    await spool.flush(timeout=5)
        disk.on_operation = None
        async with spool_on(disk, cluster.seeds) as spool:
            await spool.flush(timeout=5)

        assert cluster.values("orders") == [[b"0"]]


async def test_a_refused_topic_stands_still_and_others_go_on() -> None:
    """Made meanwhile, it goes on; or its records are taken out."""
    disk = SimDisk()
    async with fake_cluster(1, orders=1) as cluster, spool_on(disk, cluster.seeds) as spool:
        lost = await spool.send("nowhere", b"a", key=b"k")
        sent = await spool.send("orders", b"b")
        await sent.stored(timeout=5)
        with pytest.raises(errors.TopicNotFound):
            await spool.flush(timeout=5)
        assert isinstance(spool.status.stuck["nowhere"], errors.TopicNotFound)
        with pytest.raises(errors.BadRequest):
            await spool.settle_by_hand("nowhere", 0, stored=True)
        with pytest.raises(errors.BadRequest):
            async with spool.take_out("orders"):
                pass

        async with Client(cluster.seeds) as admin:
            await admin.topics.create("nowhere", queues=1)
        await spool.retry("nowhere")
        await lost.stored(timeout=5)
        assert cluster.values("nowhere") == [[b"a"]]

        other = await spool.send("gone", b"c", key=b"k", queue=1)
        with pytest.raises(errors.TopicNotFound):
            await spool.flush(timeout=5)
        async with spool.take_out("gone") as records:
            (taken,) = records
        record = Record(b"c", b"k", (), taken.record.timestamp_ms)
        assert taken == TakenRecord("gone", 1, record, may_be_stored=False)
        with pytest.raises(errors.BadRequest):
            await other.stored()
    async with spool_on(disk) as spool:
        assert spool.status.records == 0


async def test_a_topic_that_takes_nothing_keeps_its_records() -> None:
    """The broker refuses the batch; a fence says first that no copy is under way."""
    async with fake_cluster(1, orders=1) as cluster, spool_on(SimDisk(), cluster.seeds) as spool:
        async with Client(cluster.seeds) as admin:
            await admin.topics.alter("orders", writable=False)
            sent = await spool.send("orders", b"a")
            with pytest.raises(errors.NotPermitted):
                await spool.flush(timeout=5)
            await admin.topics.alter("orders", writable=True)
        await spool.retry("orders")
        assert (await sent.stored(timeout=5)).offset == 0


async def test_a_topic_that_takes_fifo_messages_alone_gets_them() -> None:
    """With the hashes of their keys; one without a key stands in the way until that is changed."""
    async with (
        fake_cluster(1, first=1) as cluster,
        spool_on(SimDisk(), cluster.seeds) as spool,
        Client(cluster.seeds) as admin,
    ):
        await admin.topics.create("orders", queues=1)
        for number, types in enumerate(("fifo", "fifo", "normal", "fifo")):
            await admin.topics.alter("orders", types=types)
            kept = await spool.send("orders", b"a", key=b"k")
            assert (await kept.stored(timeout=5)).offset == number
        refused = await spool.send("orders", b"b")
        with pytest.raises(errors.WrongMessageType):
            await spool.flush(timeout=5)
        await admin.topics.alter("orders", types="fifo, normal")
        await spool.retry("orders")
        assert (await refused.stored(timeout=5)).offset == 4


@pytest.mark.parametrize("stored", [False, True])
async def test_left_behind_for_too_long_nobody_guesses(*, stored: bool) -> None:
    """The queue may have forgotten; somebody has to look."""
    disk = SimDisk()
    now_ms = 1_800_000_000_000
    async with fake_cluster(1, orders=1) as cluster:
        cluster.fault(Method.APPEND, request_late)
        async with spool_on(disk, cluster.seeds, now_ms=lambda: now_ms) as spool:
            await spool.send("orders", b"a", key=b"k")
            async with asyncio.timeout(5):
                while not cluster.count(Method.APPEND):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
        now_ms += DECIDED_MS_MAX + 1
        async with spool_on(disk, cluster.seeds, now_ms=lambda: now_ms) as spool:
            await spool.send("orders", b"b", key=b"k")
            with pytest.raises(errors.OutcomeUnknown):
                await spool.flush(timeout=5)
            with pytest.raises(errors.BadRequest):
                await spool.retry("orders")
            await spool.settle_by_hand("orders", 0, stored=stored)
            await spool.flush(timeout=5)

            assert cluster.values("orders") == [[b"b"] if stored else [b"a", b"b"]]


async def test_a_copy_of_a_spool_is_fenced_and_keeps_what_it_holds() -> None:
    """The one that begins later goes on; the other one's records are not taken for stored."""
    disk = SimDisk()
    now_ms = 1_800_000_000_000

    def clock() -> int:
        return now_ms

    async with fake_cluster(1, orders=1) as cluster:
        async with spool_on(disk, cluster.seeds, now_ms=clock) as spool:
            await spool.send("orders", b"0")
            await spool.flush(timeout=5)
        copy = disk.fork()
        now_ms += 10_000
        async with spool_on(disk, cluster.seeds, now_ms=clock) as spool:
            await spool.send("orders", b"1")
            await spool.flush(timeout=5)
            now_ms += 10_000
            async with spool_on(copy, cluster.seeds, now_ms=clock) as other:
                await other.send("orders", b"2")
                await other.flush(timeout=5)
                await spool.send("orders", b"3")
                with pytest.raises(errors.Fenced):
                    await spool.flush(timeout=5)
                assert spool.status.records == 1
                assert isinstance(spool.status.trouble, errors.Fenced)
        assert cluster.values("orders") == [[b"0", b"1", b"2"]]


async def test_a_full_spool_refuses_and_has_room_again() -> None:
    """By the bytes of its files, which go when their records are stored."""
    disk = SimDisk()
    async with spool_on(disk, bytes_max=20_000) as spool:
        sending = [spool.send("orders", b"v" * 1_000) for _ in range(100)]
        ends = await asyncio.gather(*sending, return_exceptions=True)
        refusals = [end for end in ends if isinstance(end, errors.SpoolFull)]
        sent = len(ends) - len(refusals)
        assert all(error.retriable for error in refusals)
        assert spool.status.bytes <= 20_000
    assert 15 <= sent <= 19
    options = {"bytes_max": 20_000}
    async with fake_cluster(1, orders=1) as cluster, spool_on(disk, cluster.seeds, **options) as s:
        await s.flush(timeout=5)
        assert s.status.bytes <= 5_000
        await s.send("orders", b"v" * 1_000)
        await s.flush(timeout=5)
        assert len(cluster.values("orders")[0]) == sent + 1


async def test_files_that_went_are_not_missed() -> None:
    """A note in a newer file may be about one in a file that is gone."""
    disk = SimDisk()
    async with fake_cluster(1, orders=1) as cluster:
        for value in values(0, 8):
            async with spool_on(disk, cluster.seeds, bytes_max=1_200) as spool:
                await spool.send("orders", value * 20, key=b"k")
                await spool.flush(timeout=5)
        assert len([path for path in disk.paths() if path.endswith(".spool")]) <= 2
        assert cluster.values("orders") == [[value * 20 for value in values(0, 8)]]


async def test_what_no_cluster_takes_is_refused_at_once() -> None:
    """It would stand still for ever."""
    async with spool_on(SimDisk()) as spool:
        with pytest.raises(errors.BadName):
            await spool.send("a topic", b"v")
        with pytest.raises(errors.RecordTooLarge):
            await spool.send("orders", bytes(5 << 20))
        with pytest.raises(TypeError):
            await spool.send("orders", "text")  # type: ignore[arg-type]
        with pytest.raises(errors.BadRequest):
            await spool.send("orders", b"v", queue=-1)
        sent = await spool.send("orders", b"v")
        with pytest.raises(TimeoutError):
            await sent.stored(timeout=0.01)
    with pytest.raises(errors.Closed):
        await sent.stored()
    with pytest.raises(errors.Closed):
        await spool.send("orders", b"v")
    with pytest.raises(errors.Closed, match="opened once"):
        await spool.__aenter__()


@pytest.mark.parametrize(
    "odd", [{"queue": True}, {"queue": 1.0}, {"tag": b"t"}, {"id": b"t"}, {"headers": {"h": None}}]
)
async def test_what_is_of_another_type_does_not_shut_the_spool(odd: dict[str, Any]) -> None:
    """It is refused, or understood: a note that can't be read again would hold all others."""
    disk = SimDisk()
    async with spool_on(disk) as spool:
        await spool.send("orders", b"a", queue=1)
        with suppress(TypeError):
            await spool.send("orders", b"b", **odd)
        held = spool.status.records
    async with fake_cluster(1, orders=2) as cluster, spool_on(disk, cluster.seeds) as spool:
        await spool.flush(timeout=5)
        assert [len(each) for each in cluster.values("orders")] == [0, held]
    assert held == 1 + (odd.get("queue") is True)


async def test_queues_keys_and_ids_are_as_with_a_producer() -> None:
    """And records of many topics share the spool."""
    disk = SimDisk()
    async with spool_on(disk) as spool:
        for number in range(300):
            await spool.send("many", b"%d" % number, key=b"%d" % (number % 7))
        await spool.send("ids", b"first", id="i-1", queue=1)
        await spool.send("ids", b"again", id="i-1", queue=1)
        await spool.send("ids", b"other", queue=1)
    async with fake_cluster(1, many=3, ids=2) as cluster:
        async with spool_on(disk, cluster.seeds) as spool:
            await spool.flush(timeout=10)
        many = cluster.values("many")
        assert cluster.values("ids") == [[], [b"first", b"other"]]
    assert sum(map(len, many)) == 300
    for key in range(7):
        (own,) = [q for q in ([v for v in q if int(v) % 7 == key] for q in many) if q]
        assert own == sorted(own, key=int)


async def test_a_disk_that_fails_is_told_to_everybody() -> None:
    """The record may be spooled; nothing more is written until it is opened again."""
    disk = SimDisk()
    async with spool_on(disk) as spool:
        await spool.send("orders", b"0")
        Cut(disk, 1)
        for _ in range(2):
            with pytest.raises(errors.StorageFailed):
                await spool.send("orders", b"1")
        disk.on_operation = None


async def test_whatever_ends_the_sending_is_told_to_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also what nobody has thought of; the records are on disk still."""
    disk = SimDisk()

    async def broken(_: object) -> bool:
        raise ZeroDivisionError

    async with spool_on(disk) as spool:
        with monkeypatch.context() as patch:
            patch.setattr("raftlog.spool.forwarder.Forwarder._round", broken)
            record = await spool.send("orders", b"a")
            with pytest.raises(errors.Closed, match="ZeroDivisionError"):
                await record.stored(timeout=5)
        later = await spool.send("orders", b"b")
        with pytest.raises(errors.Closed, match="ZeroDivisionError"):
            await later.stored(timeout=5)
        assert isinstance(spool.status.trouble, ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            await spool.flush(timeout=5)
    async with fake_cluster(1, orders=1) as cluster, spool_on(disk, cluster.seeds) as spool:
        await spool.flush(timeout=5)
        assert cluster.values("orders") == [[b"a", b"b"]]


async def test_a_full_disk_refuses_records_and_is_emptied_all_the_same() -> None:
    """Notes have a reserve; it is there again when there is room."""
    disk = SimDisk()
    is_full = False

    def no_room(call: str, path: str) -> None:
        adds = call in ("write", "create") and path.endswith((".spool", "identity.new"))
        if is_full and adds and "spool/reserve" in disk.paths():
            raise OSError(28, "no space left")

    disk.on_operation = no_room
    async with spool_on(disk, bytes_max=8_000) as spool:
        for value in values(0, 3):
            await spool.send("orders", value * 200, key=b"k")
        is_full = True
        with pytest.raises(errors.SpoolFull, match="disk is full"):
            await spool.send("orders", b"v", key=b"k")
        assert spool.status.records == 3
    options = {"bytes_max": 8_000}
    async with fake_cluster(1, orders=1) as cluster, spool_on(disk, cluster.seeds, **options) as s:
        await s.flush(timeout=5)
        assert "spool/reserve" not in disk.paths(), "it was given up"
        is_full = False
        for number in range(10):
            await s.send("orders", b"%d" % number * 500, key=b"k")
            await s.flush(timeout=5)
        assert "spool/reserve" in disk.paths()
        assert len(cluster.values("orders")[0]) == 13


async def test_threads_have_the_same() -> None:
    """Each call blocks."""

    def work(seeds: list[str]) -> None:
        with sync.Client(seeds) as client:
            files = SimDisk()
            with BlockingSpool(client, "spool", files=files.files()) as spool:
                sent = spool.send("orders", b"0", key=b"k")
                assert sent.stored(timeout=5).offset == 0
                assert (sent.is_stored, sent.topic, sent.number) == (True, "orders", 1)
                spool.send("nowhere", b"1")
                with pytest.raises(errors.TopicNotFound):
                    spool.flush(timeout=5)
                with pytest.raises(errors.BadRequest):
                    spool.settle_by_hand("nowhere", 0, stored=True)
                with pytest.raises(ZeroDivisionError), spool.take_out("nowhere") as records:
                    assert 1 // 0, "the caller could not keep them"
                assert spool.status.records == 1
                with spool.take_out("nowhere") as records:
                    (taken,) = records
                assert taken.record.value == b"1"
                with pytest.raises(errors.BadRequest):
                    spool.retry("nowhere")
                assert spool.status.records == 0
            with pytest.raises(errors.Closed):
                spool.send("orders", b"2")

    async with fake_cluster(1, orders=1) as cluster:
        await asyncio.to_thread(work, cluster.seeds)
        assert cluster.values("orders") == [[b"0"]]
