"""Any database that SQLAlchemy knows, for the outbox and for the consumer's helper.

    database = Alchemy(create_engine("postgresql+psycopg://..."))
    outbox = Outbox(database)
    with Session(engine) as session, session.begin():
        session.add(order)
        outbox.put(session, "orders", b"...", key=b"o-7")

From an ``AsyncSession``: ``await session.run_sync(lambda inner: outbox.put(inner, ...))``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from raftlog.sql.database import Result, Run, Values
from raftlog.sql.tables import ADDED, Table

_METADATA: Final = sa.MetaData()
_LARGE: Final = sa.BigInteger()
_NUMBER: Final = _LARGE.with_variant(sa.Integer(), "sqlite")  # there only that counts by itself
_BYTES: Final = sa.LargeBinary(length=(1 << 24) - 1)  # MySQL: not its 64 KiB
_NAME: Final = sa.String(length=127)
_TABLES: Final = {
    Table.OUTBOX: sa.Table(
        *("raftlog_outbox", _METADATA),
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("topic", _NAME, nullable=False),
        sa.Column("message_key", _BYTES),
        sa.Column("value", _BYTES),
        sa.Column("headers", _BYTES),
        sa.Column("tag", _NAME),
        sa.Column("timestamp_ms", _LARGE, nullable=False),
        sa.Column("queue", sa.Integer),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("batch", _LARGE),
        sa.Column("settled_ms", _LARGE),
        sa.Column("sent_queue", sa.Integer),
        sa.Column("sent_offset", _LARGE),
        sa.Column("reason", sa.Text),
        sa.Index("raftlog_outbox_state", "state", "id"),
        sqlite_autoincrement=True,
    ),
    Table.BATCH: sa.Table(
        *("raftlog_batch", _METADATA),
        sa.Column("queue", _LARGE, primary_key=True, autoincrement=False),
        sa.Column("epoch", _LARGE, nullable=False),
        sa.Column("sequence", _LARGE, nullable=False),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("topic", _NAME, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("made_ms", _LARGE, nullable=False),
        sa.Column("idle_days", sa.Integer, nullable=False, server_default="0"),
        sa.Column("doubt", sa.Text),
    ),
    Table.RELAY: sa.Table(
        *("raftlog_relay", _METADATA),
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("producer", _LARGE, nullable=False),
        sa.Column("epoch", _LARGE, nullable=False),
        sa.Column("seen_ms", _LARGE, nullable=False),
    ),
    Table.PROCESSED: sa.Table(
        *("raftlog_processed", _METADATA),
        sa.Column("consumer", _NAME, primary_key=True),
        sa.Column("message", sa.String(length=255), primary_key=True),
        sa.Column("at_ms", _LARGE, nullable=False),
        sa.Index("raftlog_processed_at", "consumer", "at_ms"),
    ),
}


class Alchemy:
    """A database by its engine.

    Args:
        engine: What ``create_engine`` returns; of an ``AsyncEngine``, its ``sync_engine`` if the
            driver works without a loop, else an engine of its own.
    """

    failures: tuple[type[Exception], ...] = (DBAPIError, sa.exc.TimeoutError)
    """The second one: all connections of the engine's pool are in use."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine: Final = engine

    def create(self, tables: Sequence[Table]) -> None:
        """Make these tables if they are not there, or ``complete`` them. Blocks."""
        _METADATA.create_all(self._engine, tables=[_TABLES[table] for table in tables])
        self.complete(tables)

    def complete(self, tables: Sequence[Table]) -> None:
        """Add the columns that tables of an earlier version lack, if they are there. Blocks."""
        for table in tables:
            with self._engine.begin() as connection:
                for column in _lacking(connection, table):
                    told = sa.schema.CreateColumn(column).compile(dialect=self._engine.dialect)
                    connection.execute(sa.text(f"ALTER TABLE {table.value} ADD {told}"))

    def run(self, connection: sa.Connection | Session, statement: str, values: Values) -> Result:
        """Run a statement in the transaction that the application has begun, or begins with it."""
        return _result(connection.execute(sa.text(statement), dict(values)))

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Iterator[Run]:
        """Begin a transaction on a connection of the engine. Blocks."""
        del writes
        with self._engine.begin() as connection:
            yield lambda statement, values: _result(
                connection.execute(sa.text(statement), dict(values))
            )


def _lacking(connection: sa.Connection, table: Table) -> list[sa.Column[object]]:
    looks = sa.inspect(connection)
    if table not in ADDED or not looks.has_table(table.value):
        return []
    there = {column["name"] for column in looks.get_columns(table.value)}
    return [_TABLES[table].columns[name] for name in ADDED[table] if name not in there]


def _result(found: sa.CursorResult[object] | sa.Result[object]) -> Result:
    assert isinstance(found, sa.CursorResult), f"a statement's result is {type(found).__name__}"
    return Result([tuple(row) for row in found] if found.returns_rows else [], found.rowcount)
