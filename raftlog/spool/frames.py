"""How notes lie in the spool's files: frames that say where their write began.

::

    magic u32 | crc32c u32 | length u32 | number u64 | begun u64 | payload

The checksum is over everything behind it. Frames are numbered one after the other, over
all files. ``begun`` is where in the file the write began to which the frame belongs: a
write is synced before the next one begins, so a good frame whose write began behind a bad
one proves that the bad one was on disk once. It is damage then, and no torn end.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from crc32c import crc32c

from raftlog.base.entry import Buffer

_MAGIC: Final = 0x31505352
_START: Final = _MAGIC.to_bytes(4, "little")
_HEADER: Final = struct.Struct("<IIIQQ")
_BEHIND_CRC: Final = struct.Struct("<IQQ")
_CRC_END: Final = 8
FRAME_HEADER_BYTES: Final = _HEADER.size


class Frame(NamedTuple):
    """A frame that was found: its number, where it lies in its file, and what it carries."""

    number: int
    offset: int
    begun: int
    payload: bytes

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + size_of_frame(self.payload)


def size_of_frame(payload: Buffer) -> int:
    """Return how many bytes of a file a payload takes."""
    return FRAME_HEADER_BYTES + len(payload)


def encode_frames(payloads: Sequence[Buffer], number: int, begun: int) -> list[Buffer]:
    """Return the pieces of one write: frames from ``number`` on, for offset ``begun``."""
    pieces: list[Buffer] = []
    for payload in payloads:
        behind = _BEHIND_CRC.pack(len(payload), number, begun)
        crc = crc32c(payload, crc32c(behind))
        pieces += (_START + crc.to_bytes(4, "little") + behind, payload)
        number += 1
    return pieces


def frame_at(data: bytes, offset: int) -> Frame | None:
    """Return the frame that begins there; None if there is no good one."""
    if len(data) - offset < FRAME_HEADER_BYTES:
        return None
    magic, crc, length, number, begun = _HEADER.unpack_from(data, offset)
    end = offset + FRAME_HEADER_BYTES + length
    if magic != _MAGIC or end > len(data):
        return None
    if crc32c(data[offset + _CRC_END : end]) != crc:
        return None
    return Frame(number, offset, begun, data[offset + FRAME_HEADER_BYTES : end])


def frames_of(data: bytes, number: int) -> Iterator[Frame]:
    """Yield the good frames from the beginning on, as long as their numbers go on."""
    offset = 0
    while (frame := frame_at(data, offset)) is not None and frame.number == number:
        yield frame
        offset, number = frame.end, number + 1


def proves_damage(data: bytes, offset: int) -> bool:
    """Whether what is bad at ``offset`` was on disk once: a later write follows."""
    at = offset
    while (at := data.find(_START, at)) >= 0:
        frame = frame_at(data, at)
        if frame is not None and frame.begun > offset:
            return True
        at += 1
    return False
