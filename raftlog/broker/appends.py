"""The append command: ``queue u32`` and one record batch, as the client made it.

The machine reads the fixed header of the batch and nothing behind it (ruling
11). Whoever proposes has checked the batch's checksum; apply does not check it
again, because an entry's own checksum covers the bytes between there and here.
"""

import struct
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import BATCH_RECORDS_MAX
from raftlog.wire.batch_header import APPEND_FACTS_LAYOUT, BATCH_HEADER_BYTES

_QUEUE: Final = struct.Struct("<I")
_COMMAND: Final = struct.Struct(f"<I{APPEND_FACTS_LAYOUT}")
APPEND_HEADER_BYTES: Final = _QUEUE.size
"""What lies before the batch in the command."""


class Appended(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a stored batch: where its records are.

    Of one that is sent again everything is the first one's, but ``duplicate``.
    """

    base_offset: Offset
    count: int
    term: Term
    index: Index
    duplicate: bool = False


QueueAndFacts = tuple[int, int, int, int, int, int, int, int]
"""The queue, and ``wire.batch_header.AppendFacts``."""


def append_parts(queue: int, batch: Buffer) -> tuple[Buffer, Buffer]:
    """Return the parts of the command that appends ``batch`` to ``queue``."""
    return _QUEUE.pack(queue), batch


def read_append(body: Buffer, position: int, length: int) -> QueueAndFacts | None:
    """Return the queue of an append command and the facts of its batch, in one look.

    None if what follows the queue is no batch of that length: a refusal, not an
    error, because apply is total.
    """
    if length < APPEND_HEADER_BYTES + BATCH_HEADER_BYTES:
        return None
    found: QueueAndFacts = _COMMAND.unpack_from(body, position)
    if found[1] != length - APPEND_HEADER_BYTES or not 0 < found[2] <= BATCH_RECORDS_MAX:
        return None
    return found
