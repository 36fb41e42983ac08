"""A relay that begins again: nothing of its last reign is done, or believed, in the next one."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from raftlog import Client, errors
from raftlog.sql import Outbox, Relay, Sqlite
from raftlog.sql.alchemy import Alchemy
from raftlog.sql.database import Run
from raftlog.sql.ledger import Waiting
from tests.client.fake_cluster import fake_cluster, until
from tests.sql.test_outbox import Cut, put, relay_of

pytestmark = pytest.mark.asyncio


async def test_a_refusal_is_of_its_batch_and_not_of_the_next_one(tmp_path: Path) -> None:
    """Another relay has settled the batch that was refused: the next message is not parked."""
    path = tmp_path / "shop.db"
    outbox = put(path, b"a")
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path)), on_refused="park") as first,
        relay_of(cluster.seeds, Sqlite(str(path))) as second,
    ):
        append, take_over = first._cluster.append, first._ledger.take_over
        answers = [errors.NotPermitted("not now"), errors.UnknownProducer("silent for long")]

        async def answered(queue: int, batch: Any) -> Any:
            if answers:
                raise answers.pop(0)
            return await append(queue, batch)

        def cut() -> int:
            if len(answers) < 2:
                raise Cut
            return take_over()

        first._cluster.append = answered  # type: ignore[method-assign]
        first._ledger.take_over = cut  # type: ignore[method-assign]
        with pytest.raises(Cut):
            await first.run(once=True)
        await second.run(once=True)
        put(path, b"b")
        first._ledger.take_over = take_over  # type: ignore[method-assign]
        await first.run(once=True)
        assert not answers
        assert outbox.parked() == []
        assert cluster.values("orders") == [[b"a", b"b"]]


class Slow(Sqlite):
    """One of its writing transactions waits, when it may not go on."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.waits = False

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Iterator[Run]:
        """Begin one, at last."""
        if writes and not self.waits and not self.may_go_on.is_set():
            self.waits = True
            self.may_go_on.wait(5)
        with super().transaction(writes=writes) as run:
            yield run


async def test_a_relay_that_is_cancelled_leaves_no_thread_behind_that_writes(
    tmp_path: Path,
) -> None:
    """Begun again it has another epoch: the thread would settle what is sent by then."""
    path = tmp_path / "shop.db"
    outbox = put(path, b"a")
    database = Slow(str(path))
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, database) as relay,
    ):
        append = relay._cluster.append

        async def stored(queue: int, batch: Any) -> Any:
            answer = await append(queue, batch)
            database.may_go_on.clear()
            return answer

        relay._cluster.append = stored  # type: ignore[method-assign]
        running = asyncio.create_task(relay.run(once=True))
        await until(lambda: database.waits)
        running.cancel()
        await asyncio.wait([running], timeout=0.05)
        assert not running.done()
        database.may_go_on.set()
        await asyncio.wait([running], timeout=5)
        assert running.cancelled()
        assert outbox.counts().sent == 1


async def test_a_trouble_that_is_over_is_not_told_any_more(tmp_path: Path) -> None:
    """Also if nothing waits to be sent: the status says None while all is well."""
    path = tmp_path / "shop.db"
    put(path)
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path))) as relay,
    ):
        waiting = relay._ledger.waiting
        troubles = [sqlite3.OperationalError("database is locked")]

        def locked_once(count: int) -> list[Waiting]:
            if troubles:
                raise troubles.pop()
            return waiting(count)

        relay._ledger.waiting = locked_once  # type: ignore[method-assign]
        running = asyncio.create_task(relay.run())
        await until(lambda: relay.status.trouble is not None)
        await until(lambda: relay.status.trouble is None)
        assert relay.status.is_active
        running.cancel()
        await asyncio.wait([running])


async def test_a_pool_that_has_no_connection_left_is_waited_for(tmp_path: Path) -> None:
    """The application has them all for a while; the relay, which shares its engine, goes on."""
    path = tmp_path / "shop.db"
    put(path, b"a")
    engine = sa.create_engine(
        f"sqlite:///{path}", poolclass=sa.QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05
    )
    async with fake_cluster(1, orders=1) as cluster, Client(cluster.seeds) as client:
        relay = Relay(client, Outbox(Alchemy(engine)), takeover=0.2, poll=0.01)
        with engine.connect():
            running = asyncio.create_task(relay.run(once=True))
            await until(lambda: running.done() or relay.status.trouble is not None)
        await asyncio.wait([running], timeout=5)
        assert running.exception() is None
        assert cluster.values("orders") == [[b"a"]]
    engine.dispose()
