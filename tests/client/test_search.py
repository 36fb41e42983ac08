"""Searching a topic with the SDK, while leaders change and retention goes on."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from raftlog.base.errors import BadFilter, BadRequest, NotLeader, TopicNotFound, WrongQueue
from raftlog.client.client import Client
from raftlog.client.search import SearchProgress
from raftlog.service import filtering
from raftlog.sync import Client as SyncClient
from raftlog.wire.batch import Record
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeCluster, fake_cluster, refused

pytestmark = pytest.mark.asyncio


async def fill(client: Client, queues: int, batches: int) -> None:
    """Store batches of ten records with the keys k0 .. k9 in each queue."""
    for batch in range(batches):
        records = [
            Record(b"%d" % batch, b"k%d" % number, [("n", b"%d" % number)]) for number in range(10)
        ]
        for queue in range(queues):
            await client.send_batch("orders", records, queue=queue)


async def test_all_queues_are_looked_through_in_order_and_seen_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In bounded pieces; a leader that changes meanwhile is no matter."""
    monkeypatch.setattr(filtering, "PIECE_RECORDS", 1)
    monkeypatch.setattr(filtering, "LOOKED_RECORDS_MAX", 1)
    async with fake_cluster(2, orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 2, 5)
        seen: list[SearchProgress] = []
        search = client.messages.search("orders", key=b"k3", on_progress=seen.append)
        found = []
        async for message in search:
            found.append(message)
            if len(found) == 3:
                cluster.lead("n2")
                cluster.fault(Method.SEARCH, refused(NotLeader(None)))
        places = [(message.queue, message.offset) for message in found]
        assert places == [(queue, batch * 10 + 3) for queue in (0, 1) for batch in range(5)]
        assert found[0].key == b"k3"
        assert [each.looked_at for each in seen] == list(range(10, 101, 10))
        assert {each.total for each in seen} == {100}
        assert search.progress == SearchProgress(100, 100, 10, 0, {0: 50, 1: 50})
        assert await search.step() is None


async def test_a_stretch_a_queue_a_limit_and_a_filter_bound_it() -> None:
    """Offsets and times; what is outside of the queue is cut off."""
    async with fake_cluster(orders=2) as cluster, Client(cluster.seeds) as client:
        await fill(client, 2, 3)
        await client.send("orders", b"", id="o-17", queue=1)

        async def offsets(**options: object) -> list[tuple[int, int]]:
            search = client.messages.search("orders", **options)  # type: ignore[arg-type]
            return [(each.queue, each.offset) async for each in search]

        assert await offsets(key=b"k3", start=4, end=14) == [(0, 13), (1, 13)]
        assert await offsets(key=b"k3", queue=1, limit=2) == [(1, 3), (1, 13)]
        assert await offsets(filter="n > 8", queue=0, end=900) == [(0, 9), (0, 19), (0, 29)]
        assert await offsets(id="o-17") == [(1, 30)]
        assert await offsets(start=31) == []
        assert await offsets(key=b"k3", start=datetime.now(UTC) + timedelta(hours=1)) == []
        assert len(await offsets(key=b"k3", start=timedelta(hours=-1))) == 6
        assert await offsets(key=b"k3", end=timedelta(hours=-1)) == []
        with pytest.raises(WrongQueue):
            await offsets(queue=2)
        with pytest.raises(TopicNotFound):
            await anext(client.messages.search("other"))
        for wrong, error in (
            ({"filter": "n !"}, BadFilter),
            ({"id": ""}, BadRequest),
            ({"limit": 0}, BadRequest),
            ({"start": -1}, ValueError),
        ):
            with pytest.raises(error):
                client.messages.search("orders", **wrong)  # type: ignore[arg-type]


async def test_what_retention_takes_away_meanwhile_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A search goes on behind it; and one that nobody asks on ends without a trace."""
    monkeypatch.setattr(filtering, "PIECE_RECORDS", 1)
    monkeypatch.setattr(filtering, "LOOKED_RECORDS_MAX", 1)
    async with fake_cluster(orders=1) as cluster, Client(cluster.seeds) as client:
        await fill(client, 1, 5)
        search = client.messages.search("orders", key=b"k3")
        assert (await anext(search)).offset == 3
        await cluster.forget_below("orders", 0, 30)
        assert [each.offset async for each in search] == [33, 43]
        assert search.progress.skipped == 20
        assert search.progress.looked_at == 30
        asked = cluster.count(Method.SEARCH)
        async for _ in client.messages.search("orders"):
            break
        await asyncio.sleep(0)
        assert cluster.count(Method.SEARCH) == asked + 1


async def test_threads_search_too() -> None:
    """The same names, without await."""

    def work(cluster: FakeCluster) -> tuple[list[int], int]:
        with SyncClient(cluster.seeds) as client:
            search = client.messages.search("orders", key=b"k3")
            return [each.offset for each in search], search.progress.looked_at

    async with fake_cluster(orders=1) as cluster:
        async with Client(cluster.seeds) as client:
            await fill(client, 1, 3)
        assert await asyncio.to_thread(work, cluster) == ([3, 13, 23], 30)
