"""What takes a shard's space, as clients are told."""

from datetime import datetime, timedelta

import msgspec

from raftlog.client.durations import moment_of
from raftlog.wire.schema import client, topics


class LogHold(msgspec.Struct, frozen=True):
    """What keeps the log from being trimmed: the oldest range that queues still need.

    Attributes:
        first_index: The range's first entry.
        last_index: Its last one.
        queues: How many queues need it.
        topic: Of the one that will need it longest by its settings.
        place: Of that queue in its topic.
        retention: Of that topic; None: for ever.
        retention_bytes: Of each of its queues; None: no bound.
        newest: When that queue's newest batch in the range was stored.
        hidden: Batches of that queue in the range that are not visible yet.
    """

    first_index: int
    last_index: int
    queues: int
    topic: str
    place: int
    retention: timedelta | None
    retention_bytes: int | None
    newest: datetime
    hidden: int = 0


class TopicBytes(msgspec.Struct, frozen=True):
    """A topic and the bytes of its batches that the log still has."""

    topic: str
    bytes: int


class LogSpace(msgspec.Struct, frozen=True):
    """The ten largest topics of a shard, the bytes of all, and who keeps the log.

    ``hold`` is None where nothing does: no range is full yet, or what is goes with the next
    trim.
    """

    largest: tuple[TopicBytes, ...]
    bytes: int
    hold: LogHold | None


def read_hold(answer: topics.LogHold) -> LogHold:
    """Return the value of a message."""
    return LogHold(
        answer.first_index,
        answer.last_index,
        answer.queues,
        answer.topic,
        answer.place,
        timedelta(milliseconds=answer.retention_ms) if answer.retention_ms else None,
        answer.retention_bytes or None,
        moment_of(answer.newest_ms),
        answer.hidden,
    )


def read_space(answer: client.LogSpace) -> LogSpace:
    """Return the value of a message."""
    return LogSpace(
        tuple(TopicBytes(each.topic, each.bytes) for each in answer.largest),
        answer.bytes,
        read_hold(answer.hold) if answer.HasField("hold") else None,
    )
