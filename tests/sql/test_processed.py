"""Processed messages: the unique key and the business rows are one transaction."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from raftlog import errors
from raftlog.base.ids import Offset
from raftlog.client.receipts import Message
from raftlog.sql import Processed, Sqlite
from raftlog.sql.alchemy import Alchemy

MESSAGE = Message("orders", 1, Offset(7), None, b"v", timestamp_ms=1_000)


def test_the_second_delivery_changes_nothing(tmp_path: Path) -> None:
    """And one that was rolled back was none."""
    path = str(tmp_path / "shop.db")
    processed = Processed(Sqlite(path), "billing")
    processed.create()
    connection = sqlite3.connect(path)
    assert processed.first(connection, MESSAGE)
    connection.rollback()
    with connection:
        assert processed.first(connection, MESSAGE)
    with connection:
        assert not processed.first(connection, MESSAGE)
        assert Processed(Sqlite(path), "shipping").first(connection, MESSAGE)
    connection.close()


def test_an_identity_stands_for_what_the_message_is_about(tmp_path: Path) -> None:
    """Two messages about one order; and a topic made again, whose offsets begin anew."""
    path = str(tmp_path / "shop.db")
    processed = Processed(Sqlite(path), "billing")
    processed.create()
    again = Message("orders", 1, Offset(7), None, b"v", timestamp_ms=2_000)
    with sqlite3.connect(path) as connection:
        assert processed.first(connection, MESSAGE, identity="o-7")
        assert not processed.first(connection, again, identity="o-7")
        assert processed.first(connection, MESSAGE)
        assert processed.first(connection, again)
        with pytest.raises(ValueError, match="255"):
            processed.first(connection, again, identity="x" * 256)
    connection.close()
    with pytest.raises(errors.BadName):
        Processed(Sqlite(path), "no name")


def test_old_rows_are_forgotten(tmp_path: Path) -> None:
    """Of one consumer alone, and not before their time."""
    path = str(tmp_path / "shop.db")
    processed = Processed(Sqlite(path), "billing")
    processed.create()
    with sqlite3.connect(path) as connection:
        processed.first(connection, MESSAGE)
        connection.execute("UPDATE raftlog_processed SET at_ms = at_ms - 5000")
    connection.close()
    assert Processed(Sqlite(path), "shipping").forget(1.0) == 0
    assert processed.forget(60.0) == 0
    assert processed.forget(1.0) == 1


def test_sqlalchemy_connections_too(tmp_path: Path) -> None:
    """The transaction goes on after the key was found to be there."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    processed = Processed(Alchemy(engine), "billing")
    processed.create()
    with engine.begin() as connection:
        assert processed.first(connection, MESSAGE)
    with engine.begin() as connection:
        assert not processed.first(connection, MESSAGE)
        connection.execute(sa.text("SELECT 1"))
    engine.dispose()
