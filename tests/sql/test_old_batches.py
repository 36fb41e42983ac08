"""A relay whose batch is old, or of unknown age: what its queue may have forgotten is not sent."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raftlog import errors
from raftlog.base.clock import SystemClock
from raftlog.client.ages import run_s
from raftlog.sql import Sqlite
from raftlog.sql.ledger import Ledger
from raftlog.sql.outbox import now_ms
from raftlog.wire.frame import Method
from tests.client.fake_cluster import FakeNode, fake_cluster, until
from tests.sql.test_outbox import Cut, CutDatabase, put, relay_of

pytestmark = pytest.mark.asyncio
DAY_MS = 24 * 3600 * 1000


class Clocks:
    """By how much time has passed: for the cluster, for the relay's machine, and on its clock."""

    cluster_ms = ran_ms = shown_ms = 0

    def pass_days(self, days: int, *, shown: int | None = None) -> None:
        """Let time pass; the machine's clock shows another, if somebody sets it meanwhile."""
        self.cluster_ms += days * DAY_MS
        self.ran_ms += days * DAY_MS
        self.shown_ms += (days if shown is None else shown) * DAY_MS


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clocks]:
    """The clocks of relays and clusters that are made in a test."""
    clocks = Clocks()

    class Later(SystemClock):
        def wall_ms(self) -> int:
            return super().wall_ms() + clocks.cluster_ms

    monkeypatch.setattr("tests.client.fake_cluster.SystemClock", Later)
    monkeypatch.setattr("raftlog.sql.relay.now_ms", lambda: now_ms() + clocks.shown_ms)
    monkeypatch.setattr("raftlog.sql.relay.run_s", lambda: run_s() + clocks.ran_ms / 1000)
    return clocks


@pytest.mark.parametrize("shown", [8, 0, 2], ids=["right", "stands", "set back"])
async def test_a_relay_that_reached_nobody_for_a_week_does_not_send_again(
    clocks: Clocks, shown: int, tmp_path: Path
) -> None:
    """The first batch of its epoch is stored, the answer is lost, the line is down for 8 days."""
    path = tmp_path / "shop.db"
    outbox = put(path, b"a")
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path))) as relay,
    ):
        append, calls = relay._cluster.append, 0

        async def lost_once(queue: int, batch: Any) -> Any:
            nonlocal calls
            calls += 1
            answer = await append(queue, batch)
            if calls == 1:
                clocks.pass_days(8, shown=shown)
                raise errors.Unavailable("nobody answers, for 8 days")
            return answer

        relay._cluster.append = lost_once  # type: ignore[method-assign]
        with pytest.raises(errors.OutcomeUnknown, match="so long ago"):
            await relay.run(once=True)
        assert outbox.settle_by_hand("orders", 0, stored=True) == 1
        await relay.run(once=True)
        assert cluster.values("orders") == [[b"a"]]


async def test_a_machine_that_slept_while_its_relay_sought_a_leader_sends_nothing_again(
    clocks: Clocks, tmp_path: Path
) -> None:
    """The seconds of that do not pass in sleep."""

    def stored_and_asleep(node: FakeNode, request: Any, handler: Any) -> None:
        connection, request._connection = request._connection, None
        handler(request)
        loop, cluster = asyncio.get_running_loop(), node.cluster

        def wakes() -> None:
            clocks.pass_days(8)
            cluster.lead("n1")

        cluster.lead("nobody")
        loop.call_soon(connection.abort)
        loop.call_later(0.7, wakes)

    path = tmp_path / "shop.db"
    put(path, b"a")
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path))) as relay,
    ):
        cluster.fault(Method.APPEND, stored_and_asleep)
        with pytest.raises(errors.OutcomeUnknown, match="so long ago"):
            await relay.run(once=True)
        assert cluster.values("orders") == [[b"a"]]


async def test_a_queue_that_knows_less_than_was_before_a_batch_has_forgotten_it(
    clocks: Clocks, tmp_path: Path
) -> None:
    """The second batch is stored and the queue knows of none; the clock says: a minute ago."""
    path = tmp_path / "shop.db"
    async with fake_cluster(1, orders=1) as cluster:
        put(path, b"before", b"a")
        async with relay_of(cluster.seeds, Sqlite(str(path)), batch=1) as relay:
            settle, calls = relay._ledger.settle, 0

            def cut(stored: Any) -> None:
                nonlocal calls
                calls += 1
                if calls == 2:
                    raise Cut
                settle(stored)

            relay._ledger.settle = cut  # type: ignore[method-assign]
            with pytest.raises(Cut):
                await relay.run(once=True)
        assert cluster.values("orders") == [[b"before", b"a"]]
        clocks.pass_days(8, shown=0)
        async with relay_of(cluster.seeds, Sqlite(str(path)), batch=1) as relay:
            with pytest.raises(errors.OutcomeUnknown, match="may have forgotten"):
                await relay.run(once=True)
        assert cluster.values("orders") == [[b"before", b"a"]]


async def test_a_queue_that_was_idle_before_a_batch_has_not_forgotten_the_batch(
    clocks: Clocks, tmp_path: Path
) -> None:
    """One order a week: the queue has forgotten the last one, and nobody has to look."""
    path = tmp_path / "shop.db"
    outbox = put(path, b"before")
    async with fake_cluster(1, orders=1) as cluster:
        async with relay_of(cluster.seeds, Sqlite(str(path)), batch=1) as relay:
            running = asyncio.create_task(relay.run())
            await until(lambda: outbox.counts().sent == 1)
            clocks.pass_days(8)
            put(path, b"a")
            await until(lambda: outbox.counts().sent == 2)
            running.cancel()
            await asyncio.wait([running])
        assert cluster.values("orders") == [[b"before", b"a"]]


@pytest.mark.parametrize("stored", [False, True])
async def test_a_batch_that_is_under_way_is_not_settled_by_hand(
    tmp_path: Path, *, stored: bool
) -> None:
    """Somebody settles what was left behind, twice: the second time another batch is there."""
    path = tmp_path / "shop.db"
    outbox = put(path, b"a")
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path))) as relay,
    ):
        append, calls = relay._cluster.append, 0

        async def under_way(queue: int, batch: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                with pytest.raises(errors.BadRequest, match="the relay can tell"):
                    outbox.settle_by_hand("orders", 0, stored=stored)
                if stored:
                    raise errors.UnknownProducer("it was silent for long")
            return await append(queue, batch)

        relay._cluster.append = under_way  # type: ignore[method-assign]
        await relay.run(once=True)
        assert cluster.values("orders") == [[b"a"]]
    with pytest.raises(errors.BadRequest, match="no batch for queue 0 of 'orders'"):
        outbox.settle_by_hand("orders", 0, stored=stored)


async def test_what_the_next_relay_has_not_tried_is_not_settled_by_hand(tmp_path: Path) -> None:
    """An answer to an earlier question comes when another batch is left behind."""
    path = tmp_path / "shop.db"
    outbox = put(path, b"a")
    async with fake_cluster(1, orders=1) as cluster:
        database = CutDatabase(str(path))
        database.cut_at = 4  # it is stored, and not settled
        async with relay_of(cluster.seeds, database) as relay:
            with pytest.raises(Cut):
                await relay.run(once=True)
        ledger = Ledger(Sqlite(str(path)))
        ledger.take_over()
        for stored in (True, False):
            with pytest.raises(errors.BadRequest, match="has to try first"):
                outbox.settle_by_hand("orders", 0, stored=stored)
        ledger.still(ends=True)
        async with relay_of(cluster.seeds, Sqlite(str(path))) as relay:
            await relay.run(once=True)
        assert cluster.values("orders") == [[b"a"]]


async def test_all_that_nobody_can_tell_is_named_and_the_rest_is_found_out(
    clocks: Clocks, tmp_path: Path
) -> None:
    """The last queue can tell still; while a human looks it could forget, too."""
    path = tmp_path / "shop.db"
    outbox = put(path)
    connection = sqlite3.connect(path)
    for queue in range(3):
        with connection:
            outbox.put(connection, "orders", b"%d" % queue, queue=queue)
    connection.close()
    async with fake_cluster(1, orders=3) as cluster:
        database = CutDatabase(str(path))
        database.cut_at = 4  # all three are stored, and none is settled
        async with relay_of(cluster.seeds, database) as relay:
            with pytest.raises(Cut):
                await relay.run(once=True)
        topic = cluster.machine.topics.get("orders")
        assert topic is not None
        rows = cluster.machine.producers
        for key in list(rows.table.rows):
            if key[0] != topic.queues[2]:
                rows._forget(key)
        clocks.pass_days(6)
        async with relay_of(cluster.seeds, Sqlite(str(path))) as relay:
            with pytest.raises(errors.OutcomeUnknown, match=r"queue 0 .*; .* queue 1 ") as raised:
                await relay.run(once=True)
            assert "queue 2" not in str(raised.value)
            assert outbox.counts().sent == 1
            for queue in (0, 1):
                assert outbox.settle_by_hand("orders", queue, stored=True) == 1
            await relay.run(once=True)
        assert cluster.values("orders") == [[b"0"], [b"1"], [b"2"]]
