"""Queue-style groups: what holds for them. Their messages in flight are in ``flights``.

Such a group has no members and no generations: whoever asks gets messages, each
under a lease of its own, and a message belongs to whoever holds its lease. What
a group is bound to is its topics; where it is in each queue is a *cursor*: every
offset before it was leased once, and is in flight or finished, or was passed over
(``queue_subscriptions``), and is finished.
"""

from collections.abc import Collection, Iterable
from enum import IntEnum
from itertools import islice
from typing import Annotated, Final

import msgspec

from raftlog.base.errors import (
    BadName,
    BadRequest,
    GroupInUse,
    GroupNotFound,
    GroupStyle,
    LimitReached,
)
from raftlog.base.limits import (
    ATTEMPTS_MAX,
    CURSORS_MAX,
    GROUP_MESSAGES_IN_FLIGHT_MAX,
    GROUP_TOPICS_MAX,
    LEASE_TERM_MS_MAX,
    LEASE_TERM_MS_MIN,
    NAME_CHARACTERS_MAX,
    QUEUE_GROUPS_MAX,
    RETRY_DELAY_MS_MAX,
    RETRY_DELAYS_MAX,
)
from raftlog.base.names import check_name
from raftlog.broker.queues import Queue
from raftlog.broker.table import Table
from raftlog.broker.values import Name

DEAD_LETTERS: Final = "%DLQ%"
"""What the name of a group's dead-letter topic begins with."""
DEAD_LETTER_RETENTION_MS: Final = 30 * 24 * 3600 * 1000
_S: Final = 1_000
_MIN: Final = 60 * _S
RETRY_MS: Final = (
    *(10 * _S, 30 * _S, 1 * _MIN, 2 * _MIN, 3 * _MIN, 4 * _MIN, 5 * _MIN, 6 * _MIN),
    *(7 * _MIN, 8 * _MIN, 9 * _MIN, 10 * _MIN, 20 * _MIN, 30 * _MIN, 60 * _MIN, 120 * _MIN),
)

Delay = Annotated[int, msgspec.Meta(ge=0, le=RETRY_DELAY_MS_MAX)]
Term_ = Annotated[int, msgspec.Meta(ge=LEASE_TERM_MS_MIN, le=LEASE_TERM_MS_MAX)]


class Poison(IntEnum):
    """What becomes of a message whose attempts are used up."""

    DEAD_LETTER = 0
    """It is moved to the group's dead-letter topic."""
    SKIP = 1
    """It is finished, and counted."""
    BLOCK = 2
    """It stays in flight until somebody decides; with FIFO, all of its key wait behind it."""


class QueueGroupSettings(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What holds for a group."""

    lease_ms: int = 30_000
    """How long a lease is that names no length."""
    attempts_max: int = len(RETRY_MS)
    retry_ms: tuple[int, ...] = RETRY_MS
    """The wait after each attempt; the last one again and again."""
    in_flight_max: int = 10_000
    fifo: bool = False
    """Messages of one key are leased one after the other, in the order of their offsets."""
    poison: int = int(Poison.DEAD_LETTER)


class QueueGroupChanges(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Settings to change; None leaves one as it is (or takes the default, in a new group)."""

    lease_ms: Term_ | None = None
    attempts_max: Annotated[int, msgspec.Meta(ge=1, le=ATTEMPTS_MAX)] | None = None
    retry_ms: (
        Annotated[tuple[Delay, ...], msgspec.Meta(min_length=1, max_length=RETRY_DELAYS_MAX)]
        | None
    ) = None
    in_flight_max: Annotated[int, msgspec.Meta(ge=1, le=GROUP_MESSAGES_IN_FLIGHT_MAX)] | None = (
        None
    )
    fifo: bool | None = None
    poison: Annotated[int, msgspec.Meta(ge=0, le=int(Poison.BLOCK))] | None = None


class OpenQueueGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Make a queue-style group, or bind it to more topics and change what holds for it.

    No topics: those that it has. ``from_end``: in queues that it did not read yet it
    begins behind what is there. Asking again changes nothing. Outcome: ``QueueGroup``.
    """

    group: str
    topics: Annotated[tuple[Name, ...], msgspec.Meta(max_length=GROUP_TOPICS_MAX)]
    changes: QueueGroupChanges
    from_end: bool = False

    def __post_init__(self) -> None:
        """Refuse a name that no such group can have, and a topic named twice."""
        check_opening(self.group, self.topics)


def check_opening(group: str, topics: tuple[str, ...]) -> None:
    """Refuse a name that no such group can have, and a topic named twice.

    Raises:
        BadName, BadRequest: It is so.
    """
    check_name(group, "group")
    if len(group) + len(DEAD_LETTERS) > NAME_CHARACTERS_MAX:
        raise BadName(
            f"the name of a queue-style group has at most "
            f"{NAME_CHARACTERS_MAX - len(DEAD_LETTERS)} characters, not {len(group)}"
        )
    if len(set(topics)) != len(topics):
        raise BadRequest(f"group {group!r} names a topic twice")


# -- rows


class QueueGroup(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A queue-style group. A row of state."""

    name: str
    number: int
    """Its own for ever: a group that is made again has another."""
    topics: tuple[str, ...]
    """In the order of names. One may have been deleted meanwhile, and may come back."""
    settings: QueueGroupSettings
    turn: int = 0
    """Which of its queues is asked for messages first."""
    dead_letters: int = 0
    skipped: int = 0
    expired: int = 0
    """Messages that retention took before they were finished."""

    @property
    def dead_letter_topic(self) -> str:
        """Where its dead letters go."""
        return DEAD_LETTERS + self.name

    def retry_ms(self, attempts: int) -> int:
        """Return the wait after so many attempts."""
        delays = self.settings.retry_ms
        return delays[min(attempts, len(delays)) - 1]


class Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Where a group is in a queue. A row of state."""

    group: int
    queue: int
    next: int
    """The first offset that was neither leased nor passed over."""


# -- behaviour


class QueueGroups:
    """The queue-style groups of one shard, by name, and their cursors."""

    def __init__(self) -> None:
        self.table: Final[Table[str, QueueGroup]] = Table()
        self.cursors: Final[Table[tuple[int, int], Cursor]] = Table()
        self._by_number: Final[dict[int, QueueGroup]] = {}
        self._readers: Final[dict[int, set[int]]] = {}
        """For each queue the groups that have a cursor in it."""
        self._by_topic: Final[dict[str, set[str]]] = {}

    def load(self, groups: Iterable[QueueGroup], cursors: Iterable[Cursor]) -> None:
        """Start from a snapshot."""
        self.table.load((row.name, row) for row in groups)
        self.cursors.load(((row.group, row.queue), row) for row in cursors)
        self._by_number.clear()
        self._readers.clear()
        self._by_topic.clear()
        for group in self.table.rows.values():
            self._by_number[group.number] = group
            self._bind(group)
        for number, queue in self.cursors.rows:
            self._readers.setdefault(queue, set()).add(number)

    def get(self, name: str) -> QueueGroup | None:
        """Return the group, or None."""
        return self.table.get(name)

    def numbered(self, number: int) -> QueueGroup | None:
        """Return the group of this number, or None."""
        return self._by_number.get(number)

    def find(self, name: str) -> QueueGroup:
        """Return the group.

        Raises:
            GroupNotFound: There is none.
        """
        group = self.table.get(name)
        if group is None:
            raise GroupNotFound(f"there is no queue-style group {name!r}")
        return group

    def after(self, name: str, count: int) -> list[QueueGroup]:
        """Return up to ``count`` groups whose names follow ``name``, in order."""
        return list(islice(self.table.after(name), count))

    def of_topic(self, topic: str) -> Collection[str]:
        """Return the names of the groups that read a topic."""
        return self._by_topic.get(topic, ())

    def reads(self, number: int, topic: str) -> bool:
        """Whether the group of this number reads a topic."""
        group = self._by_number.get(number)
        return group is not None and group.name in self.of_topic(topic)

    def are_to_begin(self, topic: str, queue: int) -> bool:
        """Whether a group reads a topic and has not begun a queue of it: all is to come."""
        groups = (self.get(name) for name in self.of_topic(topic))
        return any(each is not None and self.cursor(each, queue) is None for each in groups)

    def readers(self, queue: int) -> list[int]:
        """Return the groups that have a cursor in a queue, in the order of their numbers."""
        return sorted(self._readers.get(queue, ()))

    def cursor(self, group: QueueGroup, queue: int) -> Cursor | None:
        """Return where a group is in a queue; None if it did not begin there."""
        return self.cursors.get((group.number, queue))

    def check_room(self, command: OpenQueueGroup, in_flight: int) -> None:
        """Check what would not fit, or not go together.

        Raises:
            LimitReached: Too many groups, or topics of one.
            GroupInUse: The order of messages in flight would not be known.
            BadRequest: A new group without a topic.
        """
        group = self.table.get(command.group)
        if group is None:
            if not command.topics:
                raise BadRequest(f"a new group such as {command.group!r} needs a topic")
            if len(self.table) >= QUEUE_GROUPS_MAX:
                raise LimitReached(
                    f"there are {len(self.table)} queue-style groups; {QUEUE_GROUPS_MAX} may be"
                )
            return
        topics = {*group.topics, *command.topics}
        self.check_change(group, topics, changed(group.settings, command.changes), in_flight)

    def check_change(
        self,
        group: QueueGroup,
        topics: Collection[str],
        settings: QueueGroupSettings,
        in_flight: int,
    ) -> None:
        """Check what would not go together. Raises as ``check_room``."""
        if len(topics) > GROUP_TOPICS_MAX:
            raise LimitReached(f"a group reads {GROUP_TOPICS_MAX} topics at most")
        if settings.fifo != group.settings.fifo and in_flight:
            raise GroupInUse(
                f"group {group.name!r} has {in_flight} messages in flight, whose order can't be "
                "another one now"
            )

    def open(self, command: OpenQueueGroup, number: int) -> QueueGroup:
        """Make a group, or change it; what may be refused was checked."""
        group = self.table.get(command.group)
        if group is None:
            topics = tuple(sorted(command.topics))
            settings = changed(QueueGroupSettings(), command.changes)
            group = QueueGroup(command.group, number, topics, settings)
            self.table.put(group.name, group)
            self._by_number[number] = group
            self._bind(group)
            return group
        topics = tuple(sorted({*group.topics, *command.topics}))
        self.change(group, topics, changed(group.settings, command.changes))
        return group

    def change(
        self, group: QueueGroup, topics: tuple[str, ...], settings: QueueGroupSettings
    ) -> None:
        """Let a group read these topics, and other settings hold for it.

        Where it was in queues of others stays: it goes on there if it reads them again.
        """
        if (topics, settings) != (group.topics, group.settings):
            self.table.touch(group.name)
            self._unbind(group)
            group.topics, group.settings = topics, settings
            self._bind(group)

    def delete(self, name: str) -> tuple[QueueGroup, list[int]]:
        """Forget a group and its cursors; return it and the queues where they were."""
        group = self.table.delete(name)
        del self._by_number[group.number]
        self._unbind(group)
        queues = []
        for cursor in self.cursors.after((group.number, -1)):
            if cursor.group != group.number:
                break
            queues.append(cursor.queue)
        for queue in queues:
            self.cursors.delete((group.number, queue))
            self._unlink(group.number, queue)
        return group, queues

    def check_cursors(self, count: int) -> None:
        """Check that so many more queues may be read.

        Raises:
            LimitReached: They may not.
        """
        if len(self.cursors) + count > CURSORS_MAX:
            raise LimitReached(
                f"queue-style groups read {len(self.cursors)} queues; {CURSORS_MAX} may be"
            )

    def check_more_queues(self, topic: str, count: int) -> None:
        """Check that the groups that read a topic may read so many more queues of it.

        Raises:
            LimitReached: They may not.
        """
        groups = len(self.of_topic(topic))
        if groups and count:
            self.check_cursors(groups * count)

    def begin_new(self, topic: str, queues: Collection[Queue]) -> None:
        """Let the groups that read a topic begin with those of its queues that are new."""
        for name in sorted(self.of_topic(topic)):
            group = self.find(name)
            for queue in queues:
                if self.cursor(group, queue.number) is None:
                    self.begin(group, queue, queue.start_offset)

    def begin(self, group: QueueGroup, queue: Queue, at: int) -> Cursor:
        """Begin to read a queue that the group did not read yet."""
        cursor = Cursor(group.number, queue.number, at)
        self.cursors.put((group.number, queue.number), cursor)
        self._readers.setdefault(queue.number, set()).add(group.number)
        return cursor

    def forget_queue(self, queue: int) -> None:
        """Forget every cursor in a queue that was closed."""
        for number in sorted(self._readers.pop(queue, ())):
            self.cursors.delete((number, queue))

    def _bind(self, group: QueueGroup) -> None:
        for topic in group.topics:
            self._by_topic.setdefault(topic, set()).add(group.name)

    def _unbind(self, group: QueueGroup) -> None:
        for topic in group.topics:
            self._by_topic[topic].remove(group.name)
            if not self._by_topic[topic]:
                del self._by_topic[topic]

    def _unlink(self, number: int, queue: int) -> None:
        readers = self._readers[queue]
        readers.remove(number)
        if not readers:
            del self._readers[queue]


def check_stream_style(groups: QueueGroups, name: str) -> None:
    """Check that a group is not queue-style.

    Raises:
        GroupStyle: It is.
    """
    if groups.get(name) is not None:
        raise GroupStyle(f"group {name!r} is queue-style: raftlog queue-group seek")


def changed(settings: QueueGroupSettings, changes: QueueGroupChanges) -> QueueGroupSettings:
    """Return settings with what is changed of them."""
    given = {
        field: value
        for field in changes.__struct_fields__
        if (value := getattr(changes, field)) is not None
    }
    return msgspec.structs.replace(settings, **given)
