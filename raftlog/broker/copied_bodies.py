"""Batches in a command that copies them: what is said of each, and then their bytes.

Little-endian::

    count u32 | count x ( what is said of it ... | length u32 ) | the batches, one after the other
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadRequest

_COUNT: Final = struct.Struct("<I")


def body_parts(
    said: struct.Struct, rows: Sequence[tuple[int, ...]], bodies: Sequence[Buffer]
) -> tuple[Buffer, ...]:
    """Return the parts of a command.

    Args:
        said: Packs a row; its last number is the length.
        rows: What is said of each batch.
        bodies: Their bytes.
    """
    head = [_COUNT.pack(len(rows))]
    for row, body in zip(rows, bodies, strict=True):
        assert len(body) == row[-1], f"{row} has {len(body)} bytes"
        head.append(said.pack(*row))
    return b"".join(head), *bodies


def read_bodies(
    said: struct.Struct, body: Buffer, position: int, length: int
) -> Iterator[tuple[tuple[int, ...], int]]:
    """Return what a command says of each batch, and where in the entry's body its bytes begin.

    Raises:
        BadRequest: The lengths do not add up.
    """
    end = position + length
    if length < _COUNT.size:
        raise BadRequest("a command that copies batches has no count of them")
    (count,) = _COUNT.unpack_from(body, position)
    at = position + _COUNT.size
    place = at + count * said.size
    if place > end:
        raise BadRequest(f"copies of {count} batches do not fit into {length} bytes")
    rows = list(said.iter_unpack(memoryview(body)[at:place]))
    places = []
    for row in rows:
        places.append(place)
        place += row[-1]
    if place != end:
        raise BadRequest(f"the copied batches end at {place}, the command at {end}")
    return zip(rows, places, strict=True)
