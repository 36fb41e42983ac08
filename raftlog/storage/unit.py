"""The head of a write unit: what lies between two fdatasyncs (ruling 2).

A local frame, never replicated: replicas cut their units where their disks let
them. It carries the claim of how far the log was durable before this unit, and
the commit hint (ruling 14: never ahead of this log).
"""

import struct
from typing import Final

import msgspec
from crc32c import crc32c

from raftlog.base.entry import Buffer, LogEnd
from raftlog.base.ids import Index, Term
from raftlog.storage.durable_mark import Claim

UNIT_MAGIC: Final = b"RLUN"
_UNIT: Final = struct.Struct("<4sQIQQIQ")
_CRC: Final = struct.Struct("<I")
UNIT_BYTES: Final = _UNIT.size + _CRC.size


class Unit(msgspec.Struct, frozen=True, gc=False):
    """The head of one write unit. ``length`` counts the entry frames behind it."""

    number: int
    length: int
    before: LogEnd
    commit: Index

    @property
    def claim(self) -> Claim:
        """What the unit says about the log before it."""
        return Claim(self.number, 0, self.before.index, self.before.term, self.before.checksum)


def encode_unit(unit: Unit) -> bytes:
    """Return the head's bytes."""
    before = unit.before
    head = _UNIT.pack(
        *(UNIT_MAGIC, unit.number, unit.length),
        *(before.index, before.term, before.checksum, unit.commit),
    )
    return head + _CRC.pack(crc32c(head))


def parse_unit(buffer: Buffer, position: int) -> Unit | None:
    """Return the head at ``position``; None if there is no good one."""
    if position + UNIT_BYTES > len(buffer):
        return None
    magic, number, length, index, term, checksum, commit = _UNIT.unpack_from(buffer, position)
    if magic != UNIT_MAGIC:
        return None
    end = position + _UNIT.size
    if _CRC.unpack_from(buffer, end)[0] != crc32c(memoryview(buffer)[position:end]):
        return None
    return Unit(number, length, LogEnd(Index(index), Term(term), checksum), Index(commit))
