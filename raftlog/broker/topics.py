"""Topics: names for queues, and what holds for them.

A queue has a number of its own for ever, given in apply; a topic that is
deleted and created again gets other queues, so whoever still believes in the
old ones is refused instead of reading something else.
"""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Annotated, Final

import msgspec

from raftlog.base.errors import BadRequest, LimitReached, TopicExists, TopicNotFound
from raftlog.base.limits import ID_WINDOW_MS_MAX, TOPIC_QUEUES_MAX, TOPICS_MAX
from raftlog.base.names import check_name
from raftlog.broker.queues import Queues
from raftlog.broker.table import Table
from raftlog.broker.values import Count, Name, QueueNumber

DEFAULT_QUEUES: Final = 4
DEFAULT_RETENTION_MS: Final = 72 * 3600 * 1000
DEFAULT_ID_WINDOW_MS: Final = 10 * 60 * 1000
FOR_EVER: Final = 0
NO_BOUND: Final = 0


class TopicSettings(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What holds for a topic."""

    queues: int = DEFAULT_QUEUES
    retention_ms: int = DEFAULT_RETENTION_MS
    """A record may be forgotten when it is older than this, in log time; 0: never."""
    retention_bytes: int = NO_BOUND
    """The oldest records of a queue may be forgotten beyond so many bytes; 0: never."""
    readable: bool = True
    writable: bool = True
    id_window_ms: int = DEFAULT_ID_WINDOW_MS
    """A record with a business id is stored once in so much log time; 0: ids mean nothing."""
    until_consumed: bool = False
    """A record may be forgotten as soon as every group has committed past it, and is at the
    latest by time or bytes, of which one is bounded."""


class TopicChanges(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Settings to change; None leaves one as it is (or takes the default, in a new topic)."""

    queues: Annotated[int, msgspec.Meta(ge=1, lt=1 << 32)] | None = None
    retention_ms: Count | None = None
    retention_bytes: Count | None = None
    readable: bool | None = None
    writable: bool | None = None
    id_window_ms: Annotated[int, msgspec.Meta(ge=0, le=ID_WINDOW_MS_MAX)] | None = None
    until_consumed: bool | None = None


# -- commands


class CreateTopic(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Make a topic with new, empty queues. Outcome: ``Topic``."""

    name: str
    changes: TopicChanges

    def __post_init__(self) -> None:
        """Refuse a name that no topic can have: ``BadName``."""
        check_name(self.name)


class AlterTopic(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Change settings; queues can only be added. Outcome: ``Topic``."""

    name: Name
    changes: TopicChanges


class DeleteTopic(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Forget a topic and its queues. Outcome: ``Topic`` as it was."""

    name: Name


class MoveStart(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Forget a queue's records below ``start``; never back, never beyond the end.

    Proposed by the leader when retention says so (ruling 29). Outcome: ``StartMoved``.
    """

    queue: QueueNumber
    start: Count


class MoveConsumed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Forget a queue's records below ``start`` that all its groups have committed as read.

    As far as they have when it is applied; of a topic that keeps its records until they are
    consumed, alone. Proposed by the leader (ruling 29). Outcome: ``StartMoved``.
    """

    queue: QueueNumber
    start: Count


# -- outcomes


class Topic(msgspec.Struct, frozen=True, array_like=True):
    """A topic: its name, its settings, and its queues in the order of their places."""

    name: str
    settings: TopicSettings
    queues: tuple[int, ...]


class StartMoved(msgspec.Struct, frozen=True, gc=False):
    """Where the queue begins now."""

    start: int


# -- behaviour

_NEAR_NAMES: Final = 64
"""Names before and after a wrong one that are compared with it."""


class Topics:
    """The topics of one shard, by name."""

    def __init__(self, queues: Queues) -> None:
        self.table: Final[Table[str, Topic]] = Table()
        self.queues: Final = queues

    def load(self, rows: Iterable[Topic]) -> None:
        """Start from a snapshot."""
        self.table.load((row.name, row) for row in rows)

    def get(self, name: str) -> Topic | None:
        """Return the topic, or None."""
        return self.table.get(name)

    def find(self, name: str) -> Topic:
        """Return the topic.

        Raises:
            TopicNotFound: There is none; the nearest name is in it.
        """
        topic = self.table.get(name)
        if topic is None:
            raise TopicNotFound(name, self.nearest(name))
        return topic

    def nearest(self, name: str) -> str:
        """Return the existing name that is most like ``name``; "" if none is.

        Looks at the neighbours in the order of names only: it is answered in apply.
        """
        near = self.table.keys_before(name, _NEAR_NAMES)
        near.extend(islice(self.table.keys_after(name), _NEAR_NAMES))
        return next(iter(get_close_matches(name, near, 1)), "")

    def after(self, name: str, count: int) -> list[Topic]:
        """Return up to ``count`` topics whose names follow ``name``, in order."""
        return list(islice(self.table.after(name), count))

    def __iter__(self) -> Iterator[Topic]:
        """Iterate in the order of names."""
        return self.table.after(None)

    def create(self, command: CreateTopic) -> Topic:
        """Make a topic.

        Raises:
            TopicExists: There is one of this name.
            LimitReached: Too many topics or queues.
            BadRequest: Records would be kept until they are consumed, without a bound.
        """
        if self.table.get(command.name) is not None:
            raise TopicExists(f"there is a topic {command.name!r} already")
        return self.make(command.name, _changed(TopicSettings(), command.changes))

    def make(self, name: str, settings: TopicSettings) -> Topic:
        """Make a topic of a name that none has: also one of the system's.

        Raises:
            LimitReached: Too many topics or queues.
        """
        if len(self.table) >= TOPICS_MAX:
            raise LimitReached(f"there are {len(self.table)} topics; {TOPICS_MAX} may be")
        numbers = self._open(name, range(settings.queues))
        return self._put(Topic(name, settings, numbers))

    def alter(self, command: AlterTopic) -> Topic:
        """Change settings.

        Raises:
            TopicNotFound: There is no such topic.
            BadRequest: It would have fewer queues, or no bound beside "until consumed".
            LimitReached: Too many queues.
        """
        topic = self.find(command.name)
        settings = _changed(topic.settings, command.changes)
        if settings.queues < len(topic.queues):
            raise BadRequest(
                f"topic {topic.name!r} has {len(topic.queues)} queues; they can only become more"
            )
        added = self._open(topic.name, range(len(topic.queues), settings.queues))
        return self._put(Topic(topic.name, settings, topic.queues + added))

    def delete(self, command: DeleteTopic) -> Topic:
        """Forget a topic and its queues.

        Raises:
            TopicNotFound: There is no such topic.
        """
        topic = self.find(command.name)
        for number in topic.queues:
            self.queues.close(number)
        return self.table.delete(topic.name)

    def _open(self, name: str, places: range) -> tuple[int, ...]:
        if places.stop > TOPIC_QUEUES_MAX:
            raise LimitReached(
                f"{places.stop} queues for topic {name!r}; it may have {TOPIC_QUEUES_MAX}"
            )
        self.queues.check_room(len(places))
        return self.queues.open(name, places)

    def _put(self, topic: Topic) -> Topic:
        settings = topic.settings
        self.queues.permit(topic.queues, readable=settings.readable, writable=settings.writable)
        self.table.put(topic.name, topic)
        return topic


def _changed(settings: TopicSettings, changes: TopicChanges) -> TopicSettings:
    """Return ``settings`` with what ``changes`` says."""
    given = {
        field: value
        for field in changes.__struct_fields__
        if (value := getattr(changes, field)) is not None
    }
    changed = msgspec.structs.replace(settings, **given)
    is_bounded = changed.retention_ms != FOR_EVER or changed.retention_bytes != NO_BOUND
    if changed.until_consumed and not is_bounded:
        raise BadRequest(
            "records that are kept until they are consumed need a bound by time or bytes, too: a "
            "group that is dead would fill the disks"
        )
    return changed
