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
from raftlog.base.errors import BadBatch
from raftlog.base.ids import Offset
from raftlog.base.limits import BATCH_RECORDS_MAX
from raftlog.broker.topics import TopicSettings
from raftlog.wire.batch_header import APPEND_FACTS_LAYOUT, BATCH_HEADER_BYTES

_HEAD: Final = struct.Struct("<QIQ")
_COMMAND: Final = struct.Struct(f"<QIQ{APPEND_FACTS_LAYOUT}")
DEAD_LETTER_HEAD_BYTES: Final = _HEAD.size
"""What lies before the batch in the command."""
RETENTION_MS: Final = 30 * 24 * 3600 * 1000
SETTINGS: Final = TopicSettings(queues=1, retention_ms=RETENTION_MS)
"""Of a new dead-letter topic."""


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """Store a dead letter, and finish its message. Outcome: ``DeadLetterStored``."""

    group: int
    """Its number."""
    queue: int
    offset: int
    size: int
    """Of the batch, in bytes."""
    count: int
    record_time_ms: int


class DeadLetterStored(msgspec.Struct, frozen=True, gc=False):
    """Where it is."""

    topic: str
    queue: int
    offset: Offset


def dead_letter_parts(group: int, queue: int, offset: int, batch: Buffer) -> tuple[Buffer, Buffer]:
    """Return the parts of the command that stores ``batch`` as what became of a message."""
    return _HEAD.pack(group, queue, offset), batch


class DeadLetterDecoder:
    """Reads the command."""

    def decode(self, data: Buffer) -> DeadLetter:
        """Return what its bytes say.

        Raises:
            BadBatch: What follows the message's place is no batch of that length.
        """
        if len(data) >= DEAD_LETTER_HEAD_BYTES + BATCH_HEADER_BYTES:
            found = _COMMAND.unpack_from(data, 0)
            group, queue, offset, size, count = found[:5]
            if size == len(data) - DEAD_LETTER_HEAD_BYTES and 0 < count <= BATCH_RECORDS_MAX:
                return DeadLetter(group, queue, offset, size, count, found[-1])
        raise BadBatch("the command holds no dead letter")
