"""Dead letters: a message that nobody could handle moves to a topic of its group.

The leader has read the message and made a batch of one record from it, with what
is known of it in headers. One command stores that batch and finishes the message:
so it is in one place at every index, and a second leader's second copy finds nothing
that is dead any more and is refused.

The bytes are ``group u64 | queue u32 | offset u64`` and the batch: it lies in the log
as any other does, and is found by its place.
"""

import struct
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, NotPermitted
from raftlog.base.ids import Offset
from raftlog.base.limits import BATCH_RECORDS_MAX
from raftlog.broker.places import CommandPlace
from raftlog.broker.queue_groups import DEAD_LETTER_RETENTION_MS
from raftlog.broker.state import BrokerState
from raftlog.broker.topics import TopicSettings
from raftlog.wire.batch_header import APPEND_FACTS_LAYOUT, BATCH_HEADER_BYTES

_HEAD: Final = struct.Struct("<QIQ")
_COMMAND: Final = struct.Struct(f"<QIQ{APPEND_FACTS_LAYOUT}")
DEAD_LETTER_HEAD_BYTES: Final = _HEAD.size
"""What lies before the batch in the command."""
SETTINGS: Final = TopicSettings(queues=1, retention_ms=DEAD_LETTER_RETENTION_MS)
"""Of a new dead-letter topic."""


class DeadLetterStored(msgspec.Struct, frozen=True, gc=False):
    """Where it is."""

    topic: str
    queue: int
    offset: Offset


def dead_letter_parts(group: int, queue: int, offset: int, batch: Buffer) -> tuple[Buffer, Buffer]:
    """Return the parts of the command that stores ``batch`` as what became of a message."""
    return _HEAD.pack(group, queue, offset), batch


class DeadLetters:
    """Stores dead letters, from the commands that hold them."""

    def __init__(self, state: BrokerState) -> None:
        self._state: Final = state

    def store(self, place: CommandPlace, body: Buffer, length: int) -> DeadLetterStored:
        """Store one, and finish its message.

        Raises:
            BadBatch: The command holds none.
            StaleLease: The message is not dead, or not any more.
            LimitReached: There is no room for the group's topic.
            NotPermitted: The topic is not writable by its settings.
        """
        group_number, number, offset, batch = _read(body, place.position, length)
        state = self._state
        group, row = state.leasing.dead_row(group_number, number, offset)
        name = group.dead_letter_topic
        topic = state.topics.get(name)
        if topic is None:
            state.leasing.groups.check_more_queues(name, SETTINGS.queues)
            topic = state.topics.make(name, SETTINGS)
            state.leasing.topic_altered(name, topic.queues, is_readable=True)
            state.groups.topic_changed(name)
        elif not topic.settings.writable:
            raise NotPermitted(f"topic {name!r} is not writable")
        queue = state.queues.find(topic.queues[0])
        where = (place.index, place.position + DEAD_LETTER_HEAD_BYTES, batch.size)
        base = state.store(queue, batch.count, batch.record_time_ms, where)
        state.leasing.bury(group, row, state.log_time_ms)
        return DeadLetterStored(name, queue.number, base)


class _Batch(msgspec.Struct, frozen=True, gc=False):
    size: int
    count: int
    record_time_ms: int


def read_message_of(body: Buffer, position: int, length: int) -> tuple[int, int, int]:
    """Return which message a dead letter was: the group's number, queue and offset.

    Raises:
        BadBatch: The command holds none.
    """
    return _read(body, position, length)[:3]


def _read(body: Buffer, position: int, length: int) -> tuple[int, int, int, _Batch]:
    """Return group, queue and offset of a message, and the facts of its letter."""
    if length >= DEAD_LETTER_HEAD_BYTES + BATCH_HEADER_BYTES:
        found = _COMMAND.unpack_from(body, position)
        group, queue, offset, size, count = found[:5]
        if size == length - DEAD_LETTER_HEAD_BYTES and 0 < count <= BATCH_RECORDS_MAX:
            return group, queue, offset, _Batch(size, count, found[-1])
    raise BadBatch("the command holds no dead letter")
