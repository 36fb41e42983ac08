"""The reader against a cluster whose leader moves and whose records are forgotten."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from raftlog.base.errors import (
    BadFilter,
    Closed,
    NotPermitted,
    OffsetOutOfRange,
    TopicNotFound,
    Unavailable,
    WrongQueue,
)
from raftlog.client.client import Client
from raftlog.wire.batch import Record
from raftlog.wire.frame import Method
from tests.client.fake_cluster import (
    answer_lost,
    carried_out,
    fake_cluster,
    refused,
    unanswered,
    until,
)

pytestmark = pytest.mark.asyncio


async def fill(client: Client, count: int, *, queue: int = 0, batch: int = 10) -> list[bytes]:
    """Store records in batches; return their values."""
    values = [b"%d" % number for number in range(count)]
    for first in range(0, count, batch):
        records = [Record(value) for value in values[first : first + batch]]
        await client.send_batch("orders", records, queue=queue)
    return values


async def test_a_reader_that_does_not_follow_ends_at_the_end_of_the_start() -> None:
    """What comes later is not waited for, and not handed out."""
    async with fake_cluster(orders=3) as cluster, Client(cluster.seeds) as client:
        for queue in range(3):
            await fill(client, 25, queue=queue)
        async with client.reader("orders", follow=False) as reader:
            await client.send("orders", b"late", queue=1)
            found = [message async for message in reader]
            assert await reader.poll(timeout=0.01) == []
        for queue in range(3):
            offsets = [message.offset for message in found if message.queue == queue]
            assert offsets == list(range(25))
        assert b"late" not in {message.value for message in found}


async def test_a_reader_follows_and_ends_when_it_is_closed() -> None:
    """Somebody else may close it."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        reader = client.reader("orders")
        found: list[bytes | None] = []

        async def read() -> None:
            async for message in reader:
                found.append(message.value)  # noqa: PERF401  (looked at meanwhile)

        reading = asyncio.create_task(read())
        for number in range(5):
            await client.send("orders", b"%d" % number)
        await until(lambda: len(found) == 5)
        await reader.aclose()
        await asyncio.wait_for(reading, 5)
        assert sorted(found, key=str) == [b"%d" % number for number in range(5)]


STARTS: Final = [
    pytest.param("earliest", 0, id="earliest"),
    pytest.param("latest", 30, id="latest"),
    pytest.param(17, 17, id="offset"),
    pytest.param(timedelta(hours=-1), 0, id="an hour ago"),
    pytest.param(timedelta(hours=1), 30, id="in an hour"),
    pytest.param(datetime(2020, 1, 1, tzinfo=UTC), 0, id="a date"),
]


@pytest.mark.parametrize(("start", "first"), STARTS)
async def test_a_start_is_an_offset_in_each_queue(start: Any, first: int) -> None:
    """Also in the middle of a batch."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 30)
        async with client.reader("orders", queue=0, start=start) as reader:
            await client.send("orders", b"next")
            message = await anext(reader)
            assert message.offset == first
            assert reader.status.positions == {0: first + 1}


async def test_a_start_by_time_divides_what_was_stored_before_and_after() -> None:
    """By the time of storing, which never goes back."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 10)
        await asyncio.sleep(0.01)
        between = datetime.now(UTC)
        await asyncio.sleep(0.01)
        await fill(client, 10)
        async with client.reader("orders", start=between) as reader:
            assert (await anext(reader)).offset == 10


BAD_STARTS: Final = ["first", -1, 1.5, True, datetime(2026, 1, 1)]  # noqa: DTZ001


@pytest.mark.parametrize("start", BAD_STARTS)
async def test_what_is_no_start_is_refused_at_once(start: Any) -> None:
    """Before anything is asked."""
    async with fake_cluster() as cluster, Client(cluster.seeds) as client:
        with pytest.raises((ValueError, TypeError)):
            client.reader("orders", start=start)


async def test_batches_are_handed_out_as_they_are_stored() -> None:
    """No object for each record; values without a copy."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        values = await fill(client, 50, batch=7)
        async with client.reader("orders", follow=False) as reader:
            batches = [batch async for batch in reader.batches()]
        assert [batch.base_offset for batch in batches] == list(range(0, 50, 7))
        assert {(batch.topic, batch.queue) for batch in batches} == {("orders", 0)}
        assert b"".join(bytes(batch.open().values) for batch in batches) == b"".join(values)


async def test_poll_gives_what_is_there_and_nothing_when_idle() -> None:
    """An empty list is an answer, no error."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 25)
        async with client.reader("orders") as reader:
            counts = []
            while found := await reader.poll(10, timeout=0.05):
                counts.append(len(found))
            assert sum(counts) == 25
            assert max(counts) <= 10


async def test_a_reader_goes_on_with_the_next_leader() -> None:
    """Lost answers and a new leader: nothing is missing, nothing comes twice."""
    async with fake_cluster(3, orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 30)
        cluster.fault(Method.READ, answer_lost, refused(Unavailable("stopping")))
        async with client.reader("orders", buffer_bytes=1) as reader:
            found = [(await anext(reader)).offset for _ in range(15)]
            cluster.lead("n2")
            await fill(client, 10)
            found += [(await anext(reader)).offset for _ in range(25)]
        assert found == list(range(40))


async def test_reading_ahead_is_bounded() -> None:
    """A slow reader holds about one answer, whatever there is to read."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        for _ in range(8):
            await client.send("orders", bytes(600_000))
        async with client.reader("orders", buffer_bytes=1 << 20) as reader:
            await anext(reader)
            await asyncio.sleep(0.05)
            assert cluster.count(Method.READ) <= 3
            assert [(await anext(reader)).offset for _ in range(7)] == list(range(1, 8))


async def test_records_that_are_gone_are_named_and_not_passed_over_in_silence() -> None:
    """A reader slower than retention."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 30)
        await cluster.forget_below("orders", 0, 20)
        async with client.reader("orders", start=5) as reader:
            for _ in range(2):  # as often as it is asked
                with pytest.raises(OffsetOutOfRange, match="records 5 to 19 of queue 0") as caught:
                    await anext(reader)
            assert (caught.value.start, caught.value.end) == (20, 30)
        async with client.reader("orders", start=5, on_lost="skip") as reader:
            assert (await anext(reader)).offset == 20
            assert reader.status.skipped == 15
        async with client.reader("orders", start=31) as reader:
            with pytest.raises(OffsetOutOfRange, match="ends at 30"):
                await anext(reader)


async def test_what_cannot_be_read_is_told() -> None:
    """Unknown topic, unknown queue, no permission, deleted meanwhile, closed."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        with pytest.raises(TopicNotFound, match="orders"):
            await anext(client.reader("order"))
        with pytest.raises(WrongQueue):
            await anext(client.reader("orders", queue=3))
        await client.topics.alter("orders", readable=False)
        with pytest.raises(NotPermitted):
            await anext(client.reader("orders"))
        await client.topics.alter("orders", readable=True)
        reader = client.reader("orders")
        waiting = asyncio.ensure_future(reader.poll(timeout=30))
        await until(lambda: cluster.count(Method.READ) > 1)
        await client.topics.delete("orders")
        with pytest.raises(TopicNotFound):
            await waiting
        closed = client.reader("orders")
        await closed.aclose()
        with pytest.raises(Closed):
            await anext(closed)


async def test_cancelling_a_wait_loses_nothing() -> None:
    """At whatever moment."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        async with client.reader("orders") as reader:
            found: list[int] = []
            for number in itertools.count():
                if len(found) == 20:
                    break
                if number % 3 == 0 and number < 60:
                    await client.send("orders", b"x")
                waiting = asyncio.ensure_future(anext(reader))
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                waiting.cancel()
                try:
                    found.append((await waiting).offset)
                except asyncio.CancelledError:
                    continue
        assert found == list(range(20))


async def test_a_skip_does_not_overtake_what_was_read_before_it() -> None:
    """Schedule: 0 to 7 are read ahead; 8 and 9 are forgotten before they are read."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 8)
        cluster.fault(Method.READ, carried_out, unanswered)
        async with client.reader("orders", on_lost="skip") as reader:
            await until(lambda: bool(cluster.late))
            await client.send_batch("orders", [Record(b"y")] * 4)
            await cluster.forget_below("orders", 0, 10)
            cluster.late[0]()
            await until(lambda: cluster.count(Method.READ) >= 3)
            found = [(await asyncio.wait_for(anext(reader), 5)).offset for _ in range(10)]
            assert found == [*range(8), 10, 11]
            assert reader.status.skipped == 2


async def test_a_reader_that_was_not_entered_reads_nothing() -> None:
    """Schedule: entering is cancelled while no node leads; then one does."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        cluster.lead("n9")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), client.reader("orders"):
                pass
        cluster.lead("n1")
        await asyncio.sleep(0.3)
        assert cluster.count(Method.READ) == 0


async def test_a_filter_leaves_out_what_is_not_wanted_and_the_position_passes_over_it() -> None:
    """By tag and by header; the offsets are those of the queue."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        for first in range(0, 40, 4):
            records = [
                Record(b"%d" % n, tag="ab"[n % 2], headers=[("n", b"%d" % n)])
                for n in range(first, first + 4)
            ]
            await client.send_batch("orders", records)
        async with client.reader("orders", filter="n >= 10", tags=["b"], follow=False) as reader:
            found = [message async for message in reader]
        assert [message.offset for message in found] == list(range(11, 40, 2))
        assert all(message.value == b"%d" % message.offset for message in found)
        assert reader.status.positions == {0: 40}
        async with client.reader("orders", filter="n BETWEEN 4 AND 9", follow=False) as reader:
            batches = [batch async for batch in reader.batches()]
        assert [(batch.base_offset, batch.matching) for batch in batches] == [
            (4, (0, 1, 2, 3)),
            (8, (0, 1)),
        ]
        async with client.reader("orders", tags=["none"]) as reader:
            assert await reader.poll(timeout=0.2) == []
            assert reader.status.positions == {0: 40}
            await client.send("orders", b"late", tag="none")
            assert (await anext(reader)).offset == 40


async def test_a_filter_that_does_not_parse_is_refused_before_anything_is_asked() -> None:
    """The caret stands where it goes wrong."""
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        with pytest.raises(BadFilter, match="write <>"):
            client.reader("orders", filter="n != 3")
        assert cluster.count(Method.READ) == 0
