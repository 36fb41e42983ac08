"""Tables that an earlier version has made: they are completed, and what is in them counts."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from raftlog import Client, errors
from raftlog.sql import Outbox, Relay, Sqlite
from raftlog.sql.alchemy import Alchemy
from raftlog.sql.database import Database
from raftlog.sql.tables import ADDED, Table
from tests.client.fake_cluster import fake_cluster
from tests.sql.test_outbox import put

FIRST_TABLE = """CREATE TABLE raftlog_batch (
    queue INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
    records INTEGER NOT NULL, topic TEXT NOT NULL, place INTEGER NOT NULL,
    made_ms INTEGER NOT NULL)"""
FIRST_BATCH = """INSERT INTO raftlog_batch (queue, epoch, sequence, records, topic, place, made_ms)
    SELECT :queue, 4, :sequence, 1, 'orders', 0, timestamp_ms FROM raftlog_outbox"""
DATABASES = {
    "sqlite": lambda path: Sqlite(str(path)),
    "alchemy": lambda path: Alchemy(sa.create_engine(f"sqlite:///{path}")),
}
Make = Callable[[Path], Database[object]]
databases = pytest.mark.parametrize("make", DATABASES.values(), ids=DATABASES)


def earlier(path: Path) -> None:
    """Make the tables as the first version did, with a message that waits."""
    put(path, b"a")
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DROP TABLE raftlog_batch")
        connection.execute(FIRST_TABLE)
    connection.close()


def columns(path: Path) -> set[str]:
    """Return what the table of batches has."""
    connection = sqlite3.connect(path)
    found = {row[1] for row in connection.execute("PRAGMA table_info(raftlog_batch)")}
    connection.close()
    return found


@databases
def test_create_adds_what_is_missing(make: Make, tmp_path: Path) -> None:
    """Once; an earlier version goes on beside it."""
    path = tmp_path / "shop.db"
    earlier(path)
    before = columns(path)
    for _ in range(2):
        Outbox(make(path)).create()
        assert columns(path) == before | ADDED[Table.BATCH].keys()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(FIRST_BATCH, {"queue": 1, "sequence": 0})
    assert connection.execute("SELECT idle_days FROM raftlog_batch").fetchall() == [(0,)]
    connection.close()


@databases
def test_new_tables_have_all_columns(make: Make, tmp_path: Path) -> None:
    """The list of those that are added is not behind."""
    path = tmp_path / "shop.db"
    earlier(path)
    before = columns(path)
    path.unlink()
    Outbox(make(path)).create()
    assert columns(path) == before | ADDED[Table.BATCH].keys()


@databases
@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.asyncio
async def test_a_batch_of_an_earlier_version_is_not_sent_again_if_the_queue_has_forgotten(
    make: Make, tmp_path: Path, *, is_known: bool
) -> None:
    """Nobody has called ``create``: the relay adds the columns itself."""
    path = tmp_path / "shop.db"
    earlier(path)
    async with fake_cluster(1, orders=1) as cluster, Client(cluster.seeds) as client:
        topic = cluster.machine.topics.get("orders")
        assert topic is not None
        connection = sqlite3.connect(path)
        with connection:
            values = {"queue": topic.queues[0], "sequence": 0 if is_known else 7}
            connection.execute(FIRST_BATCH, values)
            connection.execute("UPDATE raftlog_outbox SET state = 1, batch = ?", topic.queues)
            connection.execute("INSERT INTO raftlog_relay VALUES ('relay', 99, 4, 0)")
        connection.close()
        outbox = Outbox(make(path))
        relay = Relay(client, outbox)
        if is_known:
            await relay.run(once=True)
        else:
            with pytest.raises(errors.OutcomeUnknown):
                await relay.run(once=True)
        assert cluster.values("orders") == [[b"a"] if is_known else []]
        assert columns(path) >= ADDED[Table.BATCH].keys()
