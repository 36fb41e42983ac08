"""What a relay writes down before it sends, and after: the tables are its memory.

Every transaction in which a relay writes begins by checking, and locking, that it is the
relay still: one that was taken over changes nothing any more.

::

    R1: epoch 4  [batch for queue 9: sequence 12, 3 records] written ---- stalls
    R2: epoch 6  takes over; what R1 writes from now on is refused
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from raftlog.base.errors import Fenced, RaftlogError, Unavailable
from raftlog.base.limits import MIB
from raftlog.sql.database import Database, Run
from raftlog.sql.outbox import forget_sent, now_ms
from raftlog.sql.tables import END_BATCH, State, Table
from raftlog.wire.batch import Headers, Record

EPOCH_STEP: Final = 2
"""Relays send in even epochs; the odd one after it settles what one of them left behind."""

_SEEN: Final = "SELECT seen_ms FROM raftlog_relay WHERE name = 'relay'"
_FOUND: Final = (
    "INSERT INTO raftlog_relay (name, producer, epoch, seen_ms) VALUES ('relay', 0, 0, 0)"
)
_TAKE_OVER: Final = (
    "UPDATE raftlog_relay SET epoch = epoch + 2, seen_ms = :now_ms WHERE name = 'relay'"
)
_IDENTITY: Final = "SELECT producer, epoch FROM raftlog_relay WHERE name = 'relay'"
_PRODUCER: Final = "UPDATE raftlog_relay SET producer = :producer WHERE name = 'relay'"
_STILL: Final = (
    "UPDATE raftlog_relay SET seen_ms = :seen_ms WHERE name = 'relay' AND epoch = :epoch"
)
_BATCHES: Final = (
    "SELECT queue, epoch, sequence, records, topic, place, made_ms, idle_days "
    "FROM raftlog_batch "
    "ORDER BY queue"
)
_SIZES: Final = (
    "SELECT id, COALESCE(LENGTH(value), 0) + COALESCE(LENGTH(headers), 0) FROM raftlog_outbox "
    "WHERE state = 0 ORDER BY id LIMIT :count"
)
_WAITING: Final = (
    "SELECT id, topic, message_key, value, headers, tag, timestamp_ms, queue FROM raftlog_outbox "
    "WHERE state = 0 AND id <= :last ORDER BY id LIMIT :count"
)
_BEGIN: Final = (
    "INSERT INTO raftlog_batch "
    "(queue, epoch, sequence, records, topic, place, made_ms, idle_days) VALUES "
    "(:queue, :epoch, :sequence, :records, :topic, :place, :made_ms, :idle_days)"
)
_DOUBT: Final = "UPDATE raftlog_batch SET doubt = :doubt WHERE queue = :queue"
_TAKE: Final = "UPDATE raftlog_outbox SET state = 1, batch = :queue WHERE id = :id AND state = 0"
_IN_BATCH: Final = "SELECT id FROM raftlog_outbox WHERE state = 1 AND batch = :queue ORDER BY id"
_SENT: Final = (
    "UPDATE raftlog_outbox SET state = 2, batch = NULL, settled_ms = :now_ms, "
    "sent_queue = :place, sent_offset = :offset WHERE id = :id"
)
_GIVE_BACK: Final = (
    "UPDATE raftlog_outbox SET state = 0, batch = NULL WHERE state = 1 AND batch = :queue"
)
_PARK: Final = (
    "UPDATE raftlog_outbox SET state = 3, batch = NULL, reason = :reason "
    "WHERE state = 1 AND batch = :queue"
)
_PARK_ONE: Final = (
    "UPDATE raftlog_outbox SET state = 3, reason = :reason WHERE id = :id AND state = 0"
)

LOOK_BYTES_MAX: Final = 16 * MIB
"""Of messages that are held at once: of an outage's backlog a thousand may be gigabytes."""

assert (State.WAITING, State.IN_BATCH, State.SENT, State.PARKED) == (0, 1, 2, 3)


class Waiting(msgspec.Struct, frozen=True):
    """A message that is to be sent."""

    id: int
    topic: str
    record: Record
    place: int | None
    """Of the queue, if the application chose one."""


class WrittenBatch(msgspec.Struct, frozen=True):
    """A batch that was written down, and perhaps sent: one for a queue at a time.

    Attributes:
        idle_days: For how long its queue had been sent nothing by this relay before, in whole
            days; 0, too, where an earlier version has written it down.
    """

    queue: int
    epoch: int
    sequence: int
    records: int
    topic: str
    place: int
    made_ms: int
    idle_days: int


class Ledger:
    """The tables as one relay writes them. Every method blocks, and may be called on any thread.

    Attributes:
        epoch: The relay's, once it has taken over.
    """

    def __init__(self, database: Database[object]) -> None:
        self._database: Final = database
        self.epoch = 0

    def complete(self) -> None:
        """Add the columns that tables of an earlier version lack."""
        self._database.complete((Table.BATCH,))

    def seen_ms(self) -> int:
        """Return when the relay of now was last seen; 0: there is none."""
        with self._database.transaction(writes=False) as run:
            rows = run(_SEEN, {}).rows
        return rows[0][0] if rows else 0

    def take_over(self) -> int:
        """Be the relay from now on; return the producer's id, 0 if none was drawn yet."""
        with self._database.transaction() as run:
            if not run(_TAKE_OVER, {"now_ms": now_ms()}).changed:
                run(_FOUND, {})
                run(_TAKE_OVER, {"now_ms": now_ms()})
            ((producer, self.epoch),) = run(_IDENTITY, {}).rows
        return int(producer)

    def keep_producer(self, producer: int) -> None:
        """Write down the producer's id, before anything is sent under it."""
        with self._writing() as run:
            run(_PRODUCER, {"producer": producer})

    def still(self, *, ends: bool = False) -> None:
        """Say that this relay lives, or that it ends.

        Raises:
            Fenced: Another one has taken over.
        """
        with self._writing(0 if ends else now_ms()):
            pass

    def forget(self, older_than_s: float) -> None:
        """Delete what was sent so long ago."""
        with self._writing() as run:
            forget_sent(run, older_than_s)

    def left_behind(self) -> list[WrittenBatch]:
        """Return the batches of relays before this one that are not settled."""
        with self._database.transaction(writes=False) as run:
            return [WrittenBatch(*row) for row in run(_BATCHES, {}).rows]

    def waiting(self, count: int) -> list[Waiting]:
        """Return the oldest messages that wait, in order: some, if they are large; else count."""
        with self._database.transaction(writes=False) as run:
            last = _last_of_a_look(run(_SIZES, {"count": count}).rows)
            rows = run(_WAITING, {"count": count, "last": last}).rows if last is not None else []
        return [
            Waiting(
                *(number, topic),
                Record(
                    None if value is None else bytes(value),
                    None if key is None else bytes(key),
                    _headers(headers),
                    timestamp_ms,
                    tag,
                ),
                place,
            )
            for number, topic, key, value, headers, tag, timestamp_ms, place in rows
        ]

    def write_down(self, batches: Sequence[tuple[WrittenBatch, Sequence[Waiting]]]) -> None:
        """Say what will be sent, before it is.

        Raises:
            Unavailable: A message is gone meanwhile; nothing was written.
        """
        with self._writing() as run:
            for batch, messages in batches:
                run(_BEGIN, msgspec.structs.asdict(batch))
                for message in messages:
                    if not run(_TAKE, {"queue": batch.queue, "id": message.id}).changed:
                        raise Unavailable(f"somebody has deleted message {message.id}")

    def settle(self, stored: Sequence[tuple[WrittenBatch, int | None]]) -> None:
        """Say that batches are stored; from which offset on, where that is known."""
        with self._writing() as run:
            for batch, base in stored:
                for number, (message,) in enumerate(run(_IN_BATCH, {"queue": batch.queue}).rows):
                    run(
                        _SENT,
                        {
                            "id": message,
                            "now_ms": now_ms(),
                            "place": batch.place,
                            "offset": None if base is None else base + number,
                        },
                    )
                run(END_BATCH, {"queue": batch.queue})

    def give_back(self, batch: WrittenBatch) -> None:
        """Let the messages of a batch wait again: it is not stored, and never will be."""
        with self._writing() as run:
            run(_GIVE_BACK, {"queue": batch.queue})
            run(END_BATCH, {"queue": batch.queue})

    def doubt(self, batch: WrittenBatch, why: str) -> None:
        """Say that nobody can say whether a batch is stored: it is a human's from now on."""
        with self._writing() as run:
            run(_DOUBT, {"queue": batch.queue, "doubt": why})

    def park(self, batch: WrittenBatch, error: RaftlogError) -> None:
        """Let others go on without the messages of a batch that was refused."""
        with self._writing() as run:
            run(_PARK, {"queue": batch.queue, "reason": str(error)})
            run(END_BATCH, {"queue": batch.queue})

    def park_waiting(self, message: Waiting, error: RaftlogError) -> None:
        """Let others go on without a message for which there is no queue."""
        with self._writing() as run:
            run(_PARK_ONE, {"id": message.id, "reason": str(error)})

    @contextmanager
    def _writing(self, seen_ms: int | None = None) -> Iterator[Run]:
        """Begin a transaction of the relay of now.

        Raises:
            Fenced: This is not it any more.
        """
        with self._database.transaction() as run:
            seen_ms = now_ms() if seen_ms is None else seen_ms
            if not run(_STILL, {"epoch": self.epoch, "seen_ms": seen_ms}).changed:
                raise Fenced("another relay has taken over this outbox")
            yield run


def _last_of_a_look(rows: Sequence[Sequence[int]]) -> int | None:
    """Return the last message that is read with those before it, by ids and sizes."""
    last, size = None, 0
    for number, each in rows:
        size += each
        if last is not None and size > LOOK_BYTES_MAX:
            break
        last = number
    return last


def _headers(data: bytes | None) -> Headers:
    if data is None:
        return ()
    return msgspec.msgpack.decode(bytes(data), type=tuple[tuple[str, bytes], ...])
