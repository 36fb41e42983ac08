"""The outbox: nothing lost, nothing twice, wherever the relay is cut off."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from raftlog import Client, errors
from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.sql import Outbox, Relay, Sqlite
from raftlog.sql.alchemy import Alchemy
from raftlog.sql.database import Run
from raftlog.sql.ledger import Ledger
from raftlog.wire.frame import Method
from tests.client.fake_cluster import answer_lost, fake_cluster, request_late, until


class Cut(Exception):
    """The process ends here: nothing after it is done."""


class CutDatabase(Sqlite):
    """Ends the process at one of its writing transactions: before it commits, or right after."""

    cut_at = 0
    after = False
    writes = 0

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Iterator[Run]:
        """Begin one, perhaps the last."""
        self.writes += writes
        is_last = writes and self.writes == self.cut_at
        if self.cut_at and self.writes > self.cut_at:
            raise Cut
        with super().transaction(writes=writes) as run:
            yield run
            if is_last and not self.after:
                raise Cut
        if is_last:
            raise Cut


def put(path: Path, *values: bytes, key: bytes | None = b"k") -> Outbox[sqlite3.Connection]:
    """Write messages, each in a transaction with a business row."""
    outbox = Outbox(Sqlite(str(path)))
    outbox.create()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT)")
    for value in values:
        with connection:
            connection.execute("INSERT INTO orders VALUES (?)", (value.decode(),))
            outbox.put(connection, "orders", value, key=key)
    connection.close()
    return outbox


@asynccontextmanager
async def relay_of(
    seeds: list[str], database: Sqlite, **options: float | str
) -> AsyncIterator[Relay]:
    """Give a relay with a client of its own, as a process has."""
    async with Client(seeds, timeout=5) as client:
        given = {"takeover": 0.2, "poll": 0.01, **options}
        yield Relay(client, Outbox(database), **given)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_what_was_committed_is_sent_once_and_in_order(tmp_path: Path) -> None:
    """And what was rolled back never."""
    path = tmp_path / "shop.db"
    outbox = put(path, *(b"%d" % number for number in range(250)))
    connection = sqlite3.connect(path)
    outbox.put(connection, "orders", b"rolled back", key=b"k")
    connection.rollback()
    connection.close()
    async with (
        fake_cluster(1, orders=2) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path)), batch=100) as r,
    ):
        await r.run(once=True)
        stored = cluster.values("orders")

    assert sorted(stored, key=len) == [[], [b"%d" % number for number in range(250)]]
    assert (outbox.counts().waiting, outbox.counts().sent) == (0, 250)
    assert outbox.forget(0) in (0, 250)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("cut_at", range(1, 9))
@pytest.mark.asyncio
async def test_cut_off_at_any_transaction_each_message_is_stored_once(
    cut_at: int, *, after: bool, tmp_path: Path
) -> None:
    """Twice cut off at the same place, then let go on: the queue's fence tells the next one."""
    path = tmp_path / "shop.db"
    outbox = put(path, b"a", b"b", b"c")
    async with fake_cluster(1, orders=1) as cluster:
        for _ in range(2):
            database = CutDatabase(str(path))
            database.cut_at, database.after = cut_at, after
            async with relay_of(cluster.seeds, database, batch=2) as relay:
                with suppress(Cut):
                    await relay.run(once=True)
        async with relay_of(cluster.seeds, Sqlite(str(path)), batch=2) as relay:
            await relay.run(once=True)
        assert cluster.values("orders") == [[b"a", b"b", b"c"]]

    assert outbox.counts().waiting == 0


@pytest.mark.parametrize("method", [Method.APPEND, Method.PRODUCER_FENCE, Method.PRODUCER_INIT])
@pytest.mark.asyncio
async def test_a_lost_answer_is_asked_for_again(method: Method, tmp_path: Path) -> None:
    """The batch carries its number, the fence its epoch."""
    path = tmp_path / "shop.db"
    put(path, b"a", b"b")
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path))) as r,
    ):
        cluster.fault(method, answer_lost, answer_lost)
        await r.run(once=True)
        assert cluster.values("orders") == [[b"a", b"b"]]


@pytest.mark.asyncio
async def test_a_cluster_that_does_not_answer_at_first_is_waited_for(tmp_path: Path) -> None:
    """Nothing was sent yet: an unknown outcome is no message's, and no human has to look."""
    path = tmp_path / "shop.db"
    put(path, b"a")
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path))) as r,
    ):
        draw, calls = r._cluster.draw_producer, 0

        async def unanswered() -> int:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise errors.OutcomeUnknown("no answer within 5 s")
            return await draw()

        r._cluster.draw_producer = unanswered  # type: ignore[method-assign]
        await r.run(once=True)
        assert cluster.values("orders") == [[b"a"]]


@pytest.mark.asyncio
async def test_a_late_copy_of_a_relay_that_is_gone_is_not_stored(tmp_path: Path) -> None:
    """It was under way when the next relay asked: the answer "not stored" must stay true."""
    path = tmp_path / "shop.db"
    put(path, b"a")
    async with fake_cluster(1, orders=1) as cluster:
        cluster.fault(Method.APPEND, request_late)
        async with relay_of(cluster.seeds, Sqlite(str(path))) as first:
            running = asyncio.create_task(first.run(once=True))
            await until(lambda: bool(cluster.late))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        async with relay_of(cluster.seeds, Sqlite(str(path))) as second:
            await second.run(once=True)
        for late in cluster.late:
            late()
        await asyncio.sleep(0.02)
        assert cluster.values("orders") == [[b"a"]]


@pytest.mark.asyncio
async def test_two_that_resolve_the_same_batch_get_the_same_answer(tmp_path: Path) -> None:
    """R2 is told "stored" and stops; R3 must not be told of R2's epoch, in which nothing was."""
    path = tmp_path / "shop.db"
    put(path, b"a")
    async with fake_cluster(1, orders=1) as cluster:
        for cut_at in (4, 2):  # R1: stored, not settled; R2: resolved, not settled
            database = CutDatabase(str(path))
            database.cut_at = cut_at
            async with relay_of(cluster.seeds, database) as relay:
                with pytest.raises(Cut):
                    await relay.run(once=True)
        async with relay_of(cluster.seeds, Sqlite(str(path))) as relay:
            await relay.run(once=True)
        assert cluster.values("orders") == [[b"a"]]


@pytest.mark.asyncio
async def test_two_relays_at_once_store_each_message_once(tmp_path: Path) -> None:
    """Each believes that the other is gone, again and again."""
    path = tmp_path / "shop.db"
    outbox = put(path, *(b"%d" % number for number in range(60)))
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path)), takeover=0.0, batch=3) as one,
        relay_of(cluster.seeds, Sqlite(str(path)), takeover=0.0, batch=3) as other,
    ):
        await asyncio.gather(one.run(once=True), other.run(once=True))
        assert cluster.values("orders") == [[b"%d" % number for number in range(60)]]
    assert outbox.counts().sent == 60


@pytest.mark.asyncio
async def test_one_that_was_taken_over_writes_nothing_more(tmp_path: Path) -> None:
    """Its tables are the other one's now."""
    path = tmp_path / "shop.db"
    put(path)
    old, new = Ledger(Sqlite(str(path))), Ledger(Sqlite(str(path)))
    old.take_over()
    new.take_over()

    with pytest.raises(errors.Fenced):
        old.still()
    new.still()


@pytest.mark.asyncio
async def test_a_message_without_a_key_is_parked_and_takes_no_other_with_it(
    tmp_path: Path,
) -> None:
    """The topic takes FIFO messages alone; the relay had met it when it took all."""
    path = tmp_path / "shop.db"
    outbox = put(path, b"a", b"b")
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path)), on_refused="park") as relay,
        Client(cluster.seeds) as admin,
    ):
        await relay.run(once=True)
        await admin.topics.alter("orders", types="fifo")
        connection = sqlite3.connect(path)
        with connection:
            outbox.put(connection, "orders", b"c", key=b"k")
        await relay.run(once=True)
        assert cluster.values("orders") == [[b"a", b"b", b"c"]]
        with connection:
            for number in range(6):
                key = b"k" if number % 2 else None
                outbox.put(connection, "orders", b"%d" % number, key=key)
        await relay.run(once=True)
        assert cluster.values("orders") == [[b"a", b"b", b"c", b"1", b"3", b"5"]]
        assert ["has a key" in each.reason for each in outbox.parked()] == [True] * 3
        await admin.topics.alter("orders", types="any")
        with connection:
            outbox.put(connection, "orders", b"d")
        await relay.run(once=True)
        connection.close()
        assert cluster.values("orders")[0][-1] == b"d"


@pytest.mark.parametrize("on_refused", ["stop", "park"])
@pytest.mark.asyncio
async def test_a_refused_message_stops_the_relay_or_is_parked(
    on_refused: str, tmp_path: Path
) -> None:
    """As its owner has chosen; parked, it can be sent later or thrown away."""
    path = tmp_path / "shop.db"
    outbox = Outbox(Sqlite(str(path)))
    outbox.create()
    connection = sqlite3.connect(path)
    with connection:
        outbox.put(connection, "closed", b"b", key=b"k")
        outbox.put(connection, "missing", b"a", key=b"k")
        outbox.put(connection, "orders", b"c", key=b"k")
    connection.close()
    async with (
        fake_cluster(1, orders=1, closed=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path)), on_refused=on_refused) as relay,
    ):
        async with Client(cluster.seeds) as client:
            await client.topics.alter("closed", writable=False)
        if on_refused == "stop":
            with pytest.raises((errors.TopicNotFound, errors.NotPermitted)):
                await relay.run(once=True)
            assert outbox.counts().parked == 0
            return
        await relay.run(once=True)
        assert cluster.values("orders") == [[b"c"]]
        closed, missing = outbox.parked()
        assert (closed.topic, missing.topic) == ("closed", "missing")
        assert "there is no topic" in missing.reason
        async with Client(cluster.seeds) as client:
            await client.topics.alter("closed", writable=True)
        assert outbox.discard(missing.id)
        assert outbox.retry(closed.id)
        await relay.run(once=True)
        assert cluster.values("closed") == [[b"b"]]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("made_ms", "match"),
    [("1", "so long ago.*settle_by_hand"), ("made_ms + 86400000", "clock stands before")],
)
async def test_a_batch_left_behind_for_too_long_is_decided_by_hand(
    made_ms: str, match: str, tmp_path: Path
) -> None:
    """Its queue may have forgotten the producer: no answer is better than a wrong one."""
    path = tmp_path / "shop.db"
    outbox = put(path, b"a")
    async with fake_cluster(1, orders=1) as cluster:
        database = CutDatabase(str(path))
        database.cut_at, database.after = 3, True  # written down, not sent
        async with relay_of(cluster.seeds, database) as relay:
            with pytest.raises(Cut):
                await relay.run(once=True)
        with sqlite3.connect(path) as connection:
            connection.execute(f"UPDATE raftlog_batch SET made_ms = {made_ms}")
        connection.close()
        async with relay_of(cluster.seeds, Sqlite(str(path))) as relay:
            with pytest.raises(errors.OutcomeUnknown, match=match):
                await relay.run(once=True)
            assert outbox.settle_by_hand("orders", 0, stored=False) == 1
            await relay.run(once=True)
        assert cluster.values("orders") == [[b"a"]]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda put: put("bad name", b""), errors.BadName),
        (lambda put: put("orders", bytes(BATCH_BYTES_MAX + 1)), errors.RecordTooLarge),
        (lambda put: put("orders", b"", tag="x" * 128), errors.BadRequest),
        (lambda put: put("orders", b"", queue=-1), ValueError),
        (lambda put: put("orders", "text"), TypeError),
        (lambda put: put("orders", b"", tag=b"t"), TypeError),
        (lambda put: put("orders", b"", queue=0.5), TypeError),
    ],
)
def test_what_cannot_be_sent_is_refused_at_once(
    call: Callable[[Callable[..., None]], None], error: type[Exception], tmp_path: Path
) -> None:
    """The application learns it, inside its transaction."""
    outbox = put(tmp_path / "shop.db")
    connection = sqlite3.connect(tmp_path / "shop.db")
    with pytest.raises(error):
        call(lambda *args, **kwargs: outbox.put(connection, *args, **kwargs))
    connection.close()


@pytest.mark.asyncio
async def test_sqlalchemy_sessions_write_the_same_outbox(tmp_path: Path) -> None:
    """Headers, tag, time and queue come through."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    database = Alchemy(engine)
    outbox = Outbox(database)
    outbox.create()
    with Session(engine) as session, session.begin():
        outbox.put(session, "orders", b"v", headers={"h": b"1"}, tag="t", queue=1)
    with Session(engine) as session:
        outbox.put(session, "orders", b"rolled back")
        session.rollback()
    async with fake_cluster(1, orders=2) as cluster, Client(cluster.seeds) as client:
        await Relay(client, outbox).run(once=True)
        async with client.reader("orders", follow=False) as reader:
            (found,) = [message async for message in reader]
    engine.dispose()

    assert (found.value, found.key, found.queue, found.tag) == (b"v", None, 1, "t")
    assert list(found.headers) == [("h", b"1")]
