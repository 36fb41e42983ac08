"""The outbox: messages that are written with business rows, in their transaction.

::

    BEGIN
      INSERT INTO orders ...
      outbox.put(connection, "orders", b"...", key=b"o-7")
    COMMIT                     --> the relay sends it, once; or ROLLBACK, and it never was

What can be known to be refused is refused by ``put``, so that the application learns it,
and not a relay that nobody waits for.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from operator import index
from time import time_ns
from typing import Any, Final, Generic, TypeVar

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadRequest
from raftlog.base.names import check_name
from raftlog.client.durations import Duration, seconds, unix_ms
from raftlog.client.packing import HeadersLike, check_size, record_of
from raftlog.sql.database import Database, Run
from raftlog.sql.tables import END_BATCH, State, Table

C = TypeVar("C")

_PUT: Final = (
    "INSERT INTO raftlog_outbox "
    "(topic, message_key, value, headers, tag, timestamp_ms, queue, state) VALUES "
    "(:topic, :key, :value, :headers, :tag, :timestamp_ms, :queue, :waiting)"
)
_COUNT: Final = "SELECT state, COUNT(*) FROM raftlog_outbox GROUP BY state"
_PARKED: Final = (
    "SELECT id, topic, reason FROM raftlog_outbox WHERE state = :parked ORDER BY id LIMIT :count"
)
_RETRY: Final = (
    "UPDATE raftlog_outbox SET state = :waiting, reason = NULL WHERE id = :id AND state = :parked"
)
_DISCARD: Final = "DELETE FROM raftlog_outbox WHERE id = :id AND state = :parked"
_LOCK: Final = "UPDATE raftlog_relay SET producer = producer WHERE name = 'relay'"
"""What a relay writes begins with that row: so it comes before or after, and not in between."""
_LEFT: Final = "SELECT queue, doubt FROM raftlog_batch WHERE topic = :topic AND place = :place"
_SETTLE: Final = (
    "UPDATE raftlog_outbox SET state = :state, batch = NULL, settled_ms = :now_ms "
    "WHERE state = 1 AND batch = :queue"
)
_FORGET: Final = "DELETE FROM raftlog_outbox WHERE state = :sent AND settled_ms < :before_ms"


class ParkedMessage(msgspec.Struct, frozen=True):
    """A message that was refused, and that others did not wait for.

    Attributes:
        id: For ``retry`` and ``discard``.
        topic: Where it was to go.
        reason: Why it was refused.
    """

    id: int
    topic: str
    reason: str


class OutboxCounts(msgspec.Struct, frozen=True):
    """How many messages are how far.

    Attributes:
        waiting: Not sent yet, or not known to be.
        sent: Sent, and not forgotten yet.
        parked: Refused.
    """

    waiting: int
    sent: int
    parked: int


class Outbox(Generic[C]):
    """The outbox of one database. May be used from any thread.

    Args:
        database: ``Sqlite(path)`` or ``Alchemy(engine)``.
    """

    def __init__(self, database: Database[C]) -> None:
        self.database: Final = database

    def create(self) -> None:
        """Make the tables if they are not there. Blocks; in a transaction of its own."""
        self.database.create((Table.OUTBOX, Table.BATCH, Table.RELAY))

    def put(
        self,
        connection: C,
        topic: str,
        value: Buffer | None,
        *,
        key: bytes | None = None,
        headers: HeadersLike | None = None,
        tag: str | None = None,
        timestamp: datetime | None = None,
        queue: int | None = None,
    ) -> None:
        """Write a message in the transaction of ``connection``. Nothing is sent before it commits.

        The arguments are those of ``Producer.send``. Messages of one key are sent in the order
        in which they were put, as far as their transactions were one after the other.

        Raises:
            BadName: No topic can have this name.
            RecordTooLarge, BadRequest, TypeError, ValueError: As ``Producer.send``.
        """
        check_name(topic)
        record = record_of(value, key, headers, tag, timestamp)
        at_ms = now_ms() if timestamp is None else unix_ms(timestamp)
        check_size(msgspec.structs.replace(record, timestamp_ms=at_ms))  # as the relay sends it
        queue = None if queue is None else int(index(queue))
        if queue is not None and queue < 0:
            raise ValueError(f"queue {queue}; places in a topic begin at 0")
        values = {
            "topic": topic,
            "key": record.key,
            "value": record.value,
            "headers": msgspec.msgpack.encode(record.headers) if record.headers else None,
            "tag": tag,
            "timestamp_ms": at_ms,
            "queue": queue,
            "waiting": int(State.WAITING),
        }
        self.database.run(connection, _PUT, values)

    # -- looking, and clearing up; each blocks, in a transaction of its own

    def counts(self) -> OutboxCounts:
        """Count the messages."""
        with self.database.transaction() as run:
            found = dict(_pairs(run(_COUNT, {}).rows))
        return OutboxCounts(
            found.get(State.WAITING, 0) + found.get(State.IN_BATCH, 0),
            found.get(State.SENT, 0),
            found.get(State.PARKED, 0),
        )

    def parked(self, count: int = 100) -> list[ParkedMessage]:
        """Return the oldest messages that were refused."""
        with self.database.transaction() as run:
            rows = run(_PARKED, {"parked": int(State.PARKED), "count": count}).rows
        return [ParkedMessage(number, topic, reason or "") for number, topic, reason in rows]

    def retry(self, message: int) -> bool:
        """Let a parked message be sent again; return whether there was one of this id."""
        values = {"id": message, "parked": int(State.PARKED), "waiting": int(State.WAITING)}
        with self.database.transaction() as run:
            return run(_RETRY, values).changed == 1

    def discard(self, message: int) -> bool:
        """Delete a parked message; return whether there was one of this id."""
        with self.database.transaction() as run:
            values = {"id": message, "parked": int(State.PARKED)}
            return run(_DISCARD, values).changed == 1

    def settle_by_hand(self, topic: str, queue: int, *, stored: bool) -> int:
        """Say what became of a batch that nobody else can say it of (``OutcomeUnknown``).

        Of no other one: what a relay has under way, or has not tried to find out about, is its
        own, and the answer would be that to an earlier question.

        Args:
            topic: Of the batch.
            queue: The place of its queue, as the error says.
            stored: Whether its messages are in the topic; if not, they are sent again.

        Returns:
            How many messages that were.

        Raises:
            BadRequest: No relay has said of a batch for that queue that it can't tell.
        """
        values = {"topic": topic, "place": queue}
        state = State.SENT if stored else State.WAITING
        changed = 0
        self.database.complete((Table.BATCH,))
        with self.database.transaction() as run:
            run(_LOCK, {})
            found = run(_LEFT, values).rows
            if all(doubt is None for _, doubt in found):
                which = f"for queue {queue} of {topic!r}"
                raise BadRequest(
                    f"the relay can tell what becomes of the batch {which}, or has to try first"
                    if found
                    else f"no batch {which} is left to settle"
                )
            for number in (number for number, doubt in found if doubt is not None):
                settled = {"queue": number, "state": int(state), "now_ms": now_ms()}
                changed += run(_SETTLE, settled).changed
                run(END_BATCH, {"queue": number})
        return changed

    def forget(self, older_than: Duration = timedelta(days=1)) -> int:
        """Delete what was sent so long ago; return how many that were."""
        with self.database.transaction() as run:
            return forget_sent(run, seconds(older_than))


def forget_sent(run: Run, older_than_s: float) -> int:
    """Delete what was sent so long ago."""
    before_ms = now_ms() - int(older_than_s * 1000)
    return run(_FORGET, {"sent": int(State.SENT), "before_ms": before_ms}).changed


def now_ms() -> int:
    """Return the time of this machine, in milliseconds since 1970."""
    return time_ns() // 1_000_000


def _pairs(rows: Sequence[Sequence[Any]]) -> list[tuple[int, int]]:
    return [(row[0], row[1]) for row in rows]
