"""The append command: ``queue u32`` and one record batch, as the client made it.

The machine reads the fixed header of the batch and nothing behind it (ruling
11). Whoever proposes has checked the batch's checksum; apply does not check it
again, because an entry's own checksum covers the bytes between there and here.
"""

import struct
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.wire.batch import BATCH_HEADER_BYTES, batch_facts, batch_length

_QUEUE: Final = struct.Struct("<I")
APPEND_HEADER_BYTES: Final = _QUEUE.size
"""What lies before the batch in the command."""


def append_parts(queue: int, batch: Buffer) -> tuple[Buffer, Buffer]:
    """Return the parts of the command that appends ``batch`` to ``queue``."""
    return _QUEUE.pack(queue), batch


def read_append(body: Buffer, position: int, length: int) -> tuple[int, int, int] | None:
    """Return queue, number of records and largest record time of an append command.

    None if what follows the queue is no batch of that length: a refusal, not an
    error, because apply is total.
    """
    if length < APPEND_HEADER_BYTES + BATCH_HEADER_BYTES:
        return None
    queue: int = _QUEUE.unpack_from(body, position)[0]
    batch = position + APPEND_HEADER_BYTES
    count, record_time_ms = batch_facts(body, batch)
    if not count or batch_length(body, batch) != length - APPEND_HEADER_BYTES:
        return None
    return queue, count, record_time_ms
