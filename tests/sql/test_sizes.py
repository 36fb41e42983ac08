"""Messages at the limits of what a batch takes: what was put can be sent, in order."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from raftlog import errors
from raftlog.base.limits import BATCH_BYTES_MAX, COALESCE_BYTES_MAX
from raftlog.client.packing import encode_records
from raftlog.sql import Outbox, Sqlite
from raftlog.sql.database import Result, Run, Values
from raftlog.wire.batch import Record
from tests.client.fake_cluster import fake_cluster
from tests.sql.test_outbox import relay_of

pytestmark = pytest.mark.asyncio


def empty_outbox(path: Path) -> Outbox[sqlite3.Connection]:
    """Return an outbox with nothing in it."""
    outbox = Outbox(Sqlite(str(path)))
    outbox.create()
    return outbox


def largest(record: Record) -> int:
    """Return how long the value of a record like this may be."""
    return BATCH_BYTES_MAX - len(encode_records([record]))


async def test_what_was_put_fits_into_the_batch_that_the_relay_makes(tmp_path: Path) -> None:
    """It gives each message the time at which it was put: that takes room, too.

    A message without that room would be refused whenever the relay tries, and hold up all others.
    """
    path = tmp_path / "shop.db"
    outbox = empty_outbox(path)
    size = largest(Record(b"", b"k", (), 1))
    with closing(sqlite3.connect(path)) as connection, connection:
        for more in range(1, 9):
            with pytest.raises(errors.RecordTooLarge):
                outbox.put(connection, "orders", bytes(size + more), key=b"k")
        outbox.put(connection, "orders", bytes(size), key=b"k")
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path))) as relay,
    ):
        await relay.run(once=True)
        (stored,) = cluster.values("orders")
        assert [len(each) for each in stored] == [size]


@pytest.mark.parametrize("on_refused", ["stop", "park"])
async def test_one_that_is_too_large_all_the_same_is_refused_as_others_are(
    on_refused: str, tmp_path: Path
) -> None:
    """An earlier version has put it: who parks what is refused can go on without it."""
    path = tmp_path / "shop.db"
    outbox = empty_outbox(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        outbox.put(connection, "orders", b"a", key=b"k")
        outbox.put(connection, "orders", b"b", key=b"k")
        connection.execute(
            "UPDATE raftlog_outbox SET value = zeroblob(?) WHERE id = 1", (BATCH_BYTES_MAX,)
        )
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path)), on_refused=on_refused) as relay,
    ):
        if on_refused == "stop":
            with pytest.raises(errors.RecordTooLarge):
                await relay.run(once=True)
            assert outbox.counts().waiting == 2
            return
        await relay.run(once=True)
        assert [each.id for each in outbox.parked()] == [1]
        assert cluster.values("orders") == [[b"b"]]


@pytest.mark.parametrize("value", [b"", None])
async def test_an_empty_message_does_not_overtake_one_that_did_not_fit(
    value: bytes | None, tmp_path: Path
) -> None:
    """It takes no room in a batch that is full, and waits for the next one all the same."""
    path = tmp_path / "shop.db"
    outbox = empty_outbox(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        for each in (b"first", bytes(COALESCE_BYTES_MAX), value, b"last"):
            outbox.put(connection, "orders", each, queue=0)
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, Sqlite(str(path))) as relay,
    ):
        await relay.run(once=True)
        (stored,) = cluster.values("orders")
        assert [len(each) for each in stored] == [5, COALESCE_BYTES_MAX, 0, 4]


class Counting(Sqlite):
    """Knows how many bytes one statement has read at most."""

    most = 0

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Iterator[Run]:
        """Begin one whose reads are counted."""
        with super().transaction(writes=writes) as run:

            def counted(statement: str, values: Values) -> Result:
                found = run(statement, values)
                read = sum(
                    len(each) for row in found.rows for each in row if isinstance(each, bytes)
                )
                self.most = max(self.most, read)
                return found

            yield counted


@pytest.mark.long
async def test_a_backlog_of_large_messages_is_read_bit_by_bit(tmp_path: Path) -> None:
    """A thousand of them would not fit into memory, and a relay that has none never goes on."""
    path = tmp_path / "shop.db"
    outbox = empty_outbox(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        for number in range(48):
            outbox.put(connection, "orders", bytes([number]) * (1 << 20), key=b"k")
        outbox.put(connection, "orders", None, key=b"k")
    database = Counting(str(path))
    async with (
        fake_cluster(1, orders=1) as cluster,
        relay_of(cluster.seeds, database) as relay,
    ):
        await relay.run(once=True)
        (stored,) = cluster.values("orders")
        assert [each[:1] for each in stored] == [*(bytes([number]) for number in range(48)), b""]
    assert database.most <= 17 << 20
