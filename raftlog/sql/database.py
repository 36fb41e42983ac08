"""A database of the application: what of it the outbox and the consumer's helper use.

Two kinds of connections meet here. The application's own, in the middle of its
transaction: on it one statement is run and nothing begun or ended. And the relay's,
in which whole transactions are run, on a thread that may wait for locks.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from raftlog.sql.tables import ADDED, SQLITE_TABLES, Table

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)
Values = Mapping[str, object]


class Result(NamedTuple):
    """What a statement found, and how many rows it changed."""

    rows: Sequence[Sequence[Any]]
    changed: int


Run = Callable[[str, Values], Result]
"""Runs one statement with ``:name`` parameters, in one transaction with those before."""


class Database(Protocol[C_contra]):
    """One database. Implementations: ``Sqlite``, ``raftlog.sql.alchemy.Alchemy``."""

    failures: tuple[type[Exception], ...]
    """What is worth another try: locked, restarted, not reachable."""

    def create(self, tables: Sequence[Table]) -> None:
        """Make these tables if they are not there, or ``complete`` them. Blocks."""

    def complete(self, tables: Sequence[Table]) -> None:
        """Add the columns that tables of an earlier version lack, if they are there. Blocks."""

    def run(self, connection: C_contra, statement: str, values: Values) -> Result:
        """Run a statement in the transaction that the application has begun."""

    def transaction(self, *, writes: bool = True) -> AbstractContextManager[Run]:
        """Begin a transaction; commit at the end, roll back if that raises. Blocks.

        Two that write the same row are one after the other, and who comes second sees what
        the first one wrote.
        """


class Sqlite:
    """A database in one file, by the standard library's ``sqlite3``.

    Args:
        path: Of the file.
        busy_timeout: Seconds that a statement waits for another connection's lock.
    """

    failures: tuple[type[Exception], ...] = (sqlite3.OperationalError,)

    def __init__(self, path: str, *, busy_timeout: float = 5.0) -> None:
        self._path: Final = path
        self._busy_timeout_s: Final = busy_timeout

    def create(self, tables: Sequence[Table]) -> None:
        """Make these tables if they are not there, or ``complete`` them. Blocks."""
        with self.transaction() as run:
            for table in tables:
                for statement in SQLITE_TABLES[table]:
                    run(statement, {})
        self.complete(tables)

    def complete(self, tables: Sequence[Table]) -> None:
        """Add the columns that tables of an earlier version lack, if they are there. Blocks."""
        with self.transaction(writes=False) as run:
            if not _lacking(run, tables):
                return
        with self.transaction() as run:
            for table, column, told in _lacking(run, tables):
                run(f"ALTER TABLE {table.value} ADD COLUMN {column} {told}", {})

    def run(self, connection: sqlite3.Connection, statement: str, values: Values) -> Result:
        """Run a statement in the transaction that the application has begun, or begins with it."""
        return _run(connection, statement, values)

    @contextmanager
    def transaction(self, *, writes: bool = True) -> Iterator[Run]:
        """Begin a transaction on a connection of its own. Blocks."""
        opened = sqlite3.connect(self._path, timeout=self._busy_timeout_s, isolation_level=None)
        with closing(opened) as connection:
            # Two that have read first could not both write.
            connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            try:
                yield lambda statement, values: _run(connection, statement, values)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _lacking(run: Run, tables: Sequence[Table]) -> list[tuple[Table, str, str]]:
    """Return columns that are missing, and what is to be told of them."""
    found = []
    for table in tables:
        columns = {row[1] for row in run(f"PRAGMA table_info({table.value})", {}).rows}
        if columns:  # else there is no such table
            added = ADDED.get(table, {})
            found += [(table, name, told) for name, told in added.items() if name not in columns]
    return found


def _run(connection: sqlite3.Connection, statement: str, values: Values) -> Result:
    with closing(connection.execute(statement, values)) as cursor:
        return Result(cursor.fetchall(), cursor.rowcount)
