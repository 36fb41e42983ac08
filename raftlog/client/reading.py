"""Stored batches out of an answer to a read."""

from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import ProtocolError
from raftlog.base.ids import Offset
from raftlog.base.limits import KIB
from raftlog.client.receipts import StoredBatch
from raftlog.wire.batch import BATCH_HEADER_BYTES
from raftlog.wire.schema import client

READ_BYTES: Final = 1024 * KIB
"""About so much is asked for at once."""


def split_answer(
    answer: client.BatchesRead, payload: Buffer, topic: str, queue: int
) -> tuple[StoredBatch, ...]:
    """Return the batches of an answer, without a copy.

    Raises:
        ProtocolError: Lengths and payload do not add up.
    """
    view = memoryview(payload)
    batches: list[StoredBatch] = []
    position = 0
    is_filtered = answer.HasField("next_offset")
    if is_filtered and len(answer.matching) != len(answer.base_offsets):
        raise ProtocolError(f"{len(answer.matching)} batches have matching records")
    for place, (base_offset, length) in enumerate(
        zip(answer.base_offsets, answer.lengths, strict=False)
    ):
        if length < BATCH_HEADER_BYTES:
            raise ProtocolError(f"a stored batch of {length} bytes")
        data = view[position : position + length]
        matching = tuple(answer.matching[place].numbers) if is_filtered else None
        batches.append(StoredBatch(Offset(base_offset), data, topic, queue, matching))
        position += length
    if position != len(view) or len(answer.base_offsets) != len(answer.lengths):
        raise ProtocolError(f"{len(batches)} batches of {position} bytes in {len(view)}")
    return tuple(batches)
