"""Processing once: a message and what it changes in the database are one transaction.

::

    BEGIN
      INSERT INTO raftlog_processed (consumer, message) ...    was there? then skip the rest
      UPDATE accounts ...
    COMMIT
    consumer.commit(message)      a crash before this delivers it again, and it is skipped

The unique key decides, also between two processes that were given the same message: the
second one waits for the first one's transaction, and finds its row, or its own place.
"""

from datetime import timedelta
from typing import Final, Generic, TypeVar

from raftlog.base.names import check_name
from raftlog.client.durations import Duration, seconds
from raftlog.client.placed import Placed, identity_of
from raftlog.sql.database import Database
from raftlog.sql.outbox import now_ms
from raftlog.sql.tables import Table

C = TypeVar("C")

# Portable, and without an error that would end the application's transaction.
_FIRST: Final = (
    "INSERT INTO raftlog_processed (consumer, message, at_ms) "
    "VALUES (:consumer, :message, :at_ms) ON CONFLICT DO NOTHING"
)
_FORGET: Final = "DELETE FROM raftlog_processed WHERE consumer = :consumer AND at_ms < :before_ms"


class Processed(Generic[C]):
    """What one consumer has processed, in the database of what it changes.

    Args:
        database: ``Sqlite(path)`` or ``Alchemy(engine)`` of a database that has
            ``ON CONFLICT DO NOTHING`` (SQLite, PostgreSQL).
        consumer: A name for what is done; most often the group's.

    Raises:
        BadName: It is no name.
    """

    def __init__(self, database: Database[C], consumer: str) -> None:
        self._database: Final = database
        self._consumer: Final = check_name(consumer, "consumer")

    def create(self) -> None:
        """Make the table if it is not there. Blocks; in a transaction of its own."""
        self._database.create((Table.PROCESSED,))

    def first(self, connection: C, message: Placed, *, identity: str | None = None) -> bool:
        """Note in the transaction of ``connection`` that a message is processed.

        Args:
            connection: With the application's transaction.
            message: As it was delivered.
            identity: What the message is about, if more than one may be: an order's number, an
                event's id. Without it, the message's place: topic, queue, offset and time.

        Returns:
            True the first time: change what it says, then commit. False if it was processed
            before: change nothing.

        Raises:
            ValueError: The identity has more than 255 characters.
        """
        name = identity_of(message, identity)
        values = {"consumer": self._consumer, "message": name, "at_ms": now_ms()}
        return self._database.run(connection, _FIRST, values).changed == 1

    def forget(self, older_than: Duration = timedelta(days=30)) -> int:
        """Delete the rows of what was processed so long ago; return how many that were. Blocks.

        What is delivered again after that is processed again: keep them longer than
        messages are kept in their topic.
        """
        before_ms = now_ms() - int(seconds(older_than) * 1000)
        with self._database.transaction() as run:
            return run(_FORGET, {"consumer": self._consumer, "before_ms": before_ms}).changed
