"""The tables: in the application's database, made by ``create``, read by anybody.

::

    raftlog_outbox     one row a message: waiting -> in a batch -> sent, or parked
    raftlog_batch      one row a queue, while a batch for it is under way
    raftlog_relay      one row: who forwards, as which producer, in which epoch
    raftlog_processed  one row for each message that a consumer has processed

A column that is new has a default, and is added where it is missing (``ADDED``): by
``create``, and by a relay when it begins. An earlier version goes on beside it.
"""

from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from typing import Final


class Table(Enum):
    """One of the tables."""

    OUTBOX = "raftlog_outbox"
    BATCH = "raftlog_batch"
    RELAY = "raftlog_relay"
    PROCESSED = "raftlog_processed"


class State(IntEnum):
    """How far a message is."""

    WAITING = 0
    IN_BATCH = 1
    SENT = 2
    PARKED = 3
    """It was refused, and others go on without it."""


END_BATCH: Final = "DELETE FROM raftlog_batch WHERE queue = :queue"
"""Nothing is under way for a queue any more."""

ADDED: Final[Mapping[Table, Mapping[str, str]]] = {
    Table.BATCH: {"idle_days": "INTEGER NOT NULL DEFAULT 0", "doubt": "TEXT"},
}
"""Columns that tables of an earlier version lack: names, and what SQLite is told of them."""

SQLITE_TABLES: Final[Mapping[Table, Sequence[str]]] = {
    Table.OUTBOX: (
        """CREATE TABLE IF NOT EXISTS raftlog_outbox (
            id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, message_key BLOB,
            value BLOB, headers BLOB, tag TEXT, timestamp_ms INTEGER NOT NULL, queue INTEGER,
            state INTEGER NOT NULL, batch INTEGER, settled_ms INTEGER, sent_queue INTEGER,
            sent_offset INTEGER, reason TEXT)""",
        "CREATE INDEX IF NOT EXISTS raftlog_outbox_state ON raftlog_outbox (state, id)",
    ),
    Table.BATCH: (
        """CREATE TABLE IF NOT EXISTS raftlog_batch (
            queue INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
            records INTEGER NOT NULL, topic TEXT NOT NULL, place INTEGER NOT NULL,
            made_ms INTEGER NOT NULL, idle_days INTEGER NOT NULL DEFAULT 0,
            doubt TEXT)""",
    ),
    Table.RELAY: (
        """CREATE TABLE IF NOT EXISTS raftlog_relay (
            name TEXT PRIMARY KEY, producer INTEGER NOT NULL, epoch INTEGER NOT NULL,
            seen_ms INTEGER NOT NULL)""",
    ),
    Table.PROCESSED: (
        """CREATE TABLE IF NOT EXISTS raftlog_processed (
            consumer TEXT NOT NULL, message TEXT NOT NULL, at_ms INTEGER NOT NULL,
            PRIMARY KEY (consumer, message))""",
        "CREATE INDEX IF NOT EXISTS raftlog_processed_at ON raftlog_processed (consumer, at_ms)",
    ),
}
