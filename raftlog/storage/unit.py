"""The head of a write unit: what lies between two fdatasyncs (ruling 2).

A local frame, never replicated: replicas cut their units where their disks let
them. It carries the claim of how far the log was durable before this unit, and
the commit hint (ruling 14: never ahead of this log).

A head belongs to one place. Its checksum begins with the *salt* of its segment
and its position there, so that a copy of a segment in somebody's record, which a
scan behind damage comes across, has no good heads: believed, they would raise
the watermark to what another log had promised.
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
_POSITION: Final = struct.Struct("<Q")
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


def encode_unit(unit: Unit, salt: int, position: int) -> bytes:
    """Return the bytes of a head that will lie at ``position`` of the segment with ``salt``."""
    before = unit.before
    head = _UNIT.pack(
        *(UNIT_MAGIC, unit.number, unit.length),
        *(before.index, before.term, before.checksum, unit.commit),
    )
    return head + _CRC.pack(_checksum(head, salt, position))


def parse_unit(buffer: Buffer, position: int, salt: int) -> Unit | None:
    """Return the head at ``position`` of a segment; None if there is no good one."""
    if position + UNIT_BYTES > len(buffer):
        return None
    magic, number, length, index, term, checksum, commit = _UNIT.unpack_from(buffer, position)
    if magic != UNIT_MAGIC:
        return None
    end = position + _UNIT.size
    found = _CRC.unpack_from(buffer, end)[0]
    if found != _checksum(memoryview(buffer)[position:end], salt, position):
        return None
    return Unit(number, length, LogEnd(Index(index), Term(term), checksum), Index(commit))


def parse_base(buffer: Buffer, position: int) -> LogEnd | None:
    """Return the entry that a head at ``position`` says is before it: unproven, without a salt."""
    if position + UNIT_BYTES > len(buffer):
        return None
    magic, _, _, index, term, checksum, _ = _UNIT.unpack_from(buffer, position)
    return LogEnd(Index(index), Term(term), checksum) if magic == UNIT_MAGIC else None


def _checksum(head: Buffer, salt: int, position: int) -> int:
    return crc32c(head, crc32c(_POSITION.pack(position), salt))
