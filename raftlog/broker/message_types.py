"""Which types of messages a topic takes, and what came: decided in apply (decision 27).

::

    create orders, fifo           -->  of what is sent to it, each record has a FIFO key
    send to orders, without one   -->  WrongMessageType: nothing is stored
    send again what was stored    -->  the first receipt, whatever the topic takes by now
    alter orders, delayed         -->  so it is for what comes from here on

What was taken stays taken: a delayed batch becomes visible, and a half message is decided, though
their topic takes no more of them. A topic of the system takes everything: what lies in it came
from elsewhere.

The type is told by the command, and of a plain send by the record table of its batch: FIFO, if
each record has the hash of a FIFO key there. The machine reads no payload (ruling 11), so the
hash counts, and not the key that it was made of.

Few topics say what they take. So that all others do not even have a row, and nothing is looked
at when something is sent to them, it is a table of its own.
"""

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, BadRequest, Refused, WrongMessageType
from raftlog.base.message_types import EVERY_BIT, MessageType, types_of
from raftlog.base.names import SYSTEM_PREFIXES, check_name
from raftlog.broker.commands import MESSAGE_TYPES_LEVEL
from raftlog.broker.queues import Queue
from raftlog.broker.table import Table
from raftlog.broker.topics import AlterTopic, CreateTopic, Topic, TopicChanges, Topics
from raftlog.broker.values import Name
from raftlog.wire.batch_header import BATCH_HEADER_BYTES, table_length_of
from raftlog.wire.record_table import has_all_fifo_keys

Types = Annotated[int, msgspec.Meta(ge=1, le=EVERY_BIT)]
"""A bit for each type (``MessageType.bit``)."""


# -- commands


class CreateTypedTopic(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """As ``CreateTopic``, and what the topic takes. Outcome: ``Topic``."""

    name: str
    changes: TopicChanges
    types: Types

    def __post_init__(self) -> None:
        """Refuse a name that no topic can have: ``BadName``."""
        check_name(self.name)

    @property
    def plain(self) -> CreateTopic:
        """What it says beside the types."""
        return CreateTopic(self.name, self.changes)


class AlterTypedTopic(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """As ``AlterTopic``, and what the topic takes from now on. Outcome: ``Topic``."""

    name: Name
    changes: TopicChanges
    types: Types

    def __post_init__(self) -> None:
        """Refuse a topic of the system: ``BadRequest``."""
        if self.name.startswith(SYSTEM_PREFIXES):
            raise BadRequest(f"{self.name!r} is the system's: it takes messages of every type")

    @property
    def plain(self) -> AlterTopic:
        """What it says beside the types."""
        return AlterTopic(self.name, self.changes)


TypedCommand = CreateTypedTopic | AlterTypedTopic


def check_types_level(level: int) -> None:
    """Refuse what an older member can't read.

    Raises:
        BadRequest: The level is below ``MESSAGE_TYPES_LEVEL``.
    """
    if level < MESSAGE_TYPES_LEVEL:
        raise BadRequest(
            f"message types of a topic need feature level {MESSAGE_TYPES_LEVEL} of the cluster, "
            f"which is at {level}: a member has an older version, is away, or was not heard yet"
        )


# -- behaviour


class TypedTopic(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a topic takes that does not take everything. A row of state."""

    topic: str
    types: int


class MessageTypes:
    """What the topics of one shard take, by their names."""

    def __init__(self, topics: Topics) -> None:
        self.table: Final[Table[str, TypedTopic]] = Table()
        self.masks: Final[dict[int, int]] = {}
        """The types that a queue takes, of those alone that do not take everything. Follows from
        the table: empty in most shards, where an append then costs nothing more."""
        self._topics: Final = topics

    def load(self, rows: Iterable[TypedTopic]) -> None:
        """Start from a snapshot whose topics are there."""
        self.table.load((row.topic, row) for row in rows)
        self.masks.clear()
        for row in self.table.after(None):
            self._mask(self._topics.find(row.topic), row.types)

    def of(self, topic: str) -> int:
        """Return the types that a topic takes, a bit each."""
        row = self.table.get(topic)
        return EVERY_BIT if row is None else row.types

    def set(self, topic: Topic, types: int) -> None:
        """A topic takes these from now on."""
        self.forget(topic)
        if types != EVERY_BIT:
            self.table.put(topic.name, TypedTopic(topic.name, types))
            self._mask(topic, types)

    def topic_changed(self, topic: Topic) -> None:
        """A topic may have more queues."""
        row = self.table.get(topic.name)
        if row is not None:
            self._mask(topic, row.types)

    def forget(self, topic: Topic) -> None:
        """A topic takes everything, or goes."""
        if self.table.get(topic.name) is not None:
            self.table.delete(topic.name)
            for number in topic.queues:
                del self.masks[number]

    def _mask(self, topic: Topic, types: int) -> None:
        self.masks.update(dict.fromkeys(topic.queues, types))

    # -- what comes

    def check(self, queue: Queue, came: MessageType) -> None:
        """Refuse a message of a type that its queue does not take.

        Raises:
            WrongMessageType: It does not.
        """
        refusal = self.refusal_of(queue, came)
        if refusal is not None:
            raise refusal

    def refusal_of(self, queue: Queue, came: MessageType) -> Refused | None:
        """Return why a queue does not take messages of a type; None: it does."""
        types = self.masks.get(queue.number, EVERY_BIT)
        if types & came.bit:
            return None
        return WrongMessageType(queue.topic, types_of(types), came)

    def refusal(self, queue: Queue, body: Buffer, batch: tuple[int, int, int]) -> Refused | None:
        """Return why a queue does not take what was sent to be visible at once; None: it does.

        ``batch``: where it begins in ``body``, its length, and its records.
        """
        types = self.masks.get(queue.number, EVERY_BIT)
        if types & MessageType.NORMAL.bit:
            return None
        if types & MessageType.FIFO.bit:
            try:
                if _is_fifo(body, *batch):
                    return None
            except BadBatch as error:
                return error.with_traceback(None)
        return self.refusal_of(queue, MessageType.NORMAL)


def _is_fifo(body: Buffer, at: int, length: int, count: int) -> bool:
    """Whether each record of a batch has a FIFO key, by its record table.

    Raises:
        BadBatch: That is none.
    """
    size = table_length_of(body, at)
    if size > length - BATCH_HEADER_BYTES:
        raise BadBatch(f"a batch of {length} bytes with a record table of {size}")
    begin = at + BATCH_HEADER_BYTES
    return size > 0 and has_all_fifo_keys(memoryview(body)[begin : begin + size], count)
