"""The header of a record batch: everything that a broker reads of one (ruling 11).

Little-endian::

    base offset u64 | leader term u64 | crc32c u32          outside the checksum
    magic u16 | format u8 | codec u8 | flags u16 | reserved u16
    length u32 | table length u32 | count u32 | producer epoch u32
    producer id u64 | base sequence u64 | known through u64
    first timestamp i64 | largest timestamp i64
    record table | payload

``length`` counts the whole batch, so that batches can lie one after the other.
Base offset and term may be written by whoever knows them without touching the
checksum; in the log they are 0. The record table (``wire.record_table``) is for
facts of single records; its length is 0 where there are none. The payload is
columns of records, or one compressed frame of them: ``wire.batch``.
"""

import struct
from typing import Final

import msgspec
from crc32c import crc32c

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, RecordTooLarge
from raftlog.base.limits import BATCH_BYTES_MAX, BATCH_RECORDS_MAX
from raftlog.wire.codecs import Codec, compress
from raftlog.wire.record_table import check_table

BATCH_MAGIC: Final = 0x4252
BATCH_FORMAT: Final = 1
_HEADER: Final = struct.Struct("<QQIHBBHHIIIIQQQqq")
BATCH_HEADER_BYTES: Final = _HEADER.size
_CHECKED: Final = struct.Struct("<HBBHHIIIIQQQqq")
_OUTSIDE: Final = struct.Struct("<QQI")
_CHECKED_AT: Final = _OUTSIDE.size
_NOWHERE: Final = bytes(16)
"""Base offset and term of a batch that was not served yet."""
_LENGTH: Final = struct.Struct("<I")
_LENGTH_AT: Final = 28
_TABLE_LENGTH_AT: Final = 32
_FACTS: Final = struct.Struct("<I36xq")
_FACTS_AT: Final = 36
APPEND_FACTS_LAYOUT: Final = f"{_LENGTH_AT}xI4xIIQQQ8xq"
"""Where ``AppendFacts`` lie in a batch."""
_APPEND_FACTS: Final = struct.Struct(f"<{APPEND_FACTS_LAYOUT}")
_STAMP: Final = struct.Struct("<IQQQ")
_STAMP_AT: Final = 40
_CHECKSUM: Final = struct.Struct("<I")
_CHECKSUM_AT: Final = 16


class Producer(msgspec.Struct, frozen=True, gc=False):
    """Who made a batch, for duplicates. All zero: nobody looks for any."""

    id: int = 0
    epoch: int = 0
    base_sequence: int = 0
    known_through: int = 0


ANONYMOUS: Final = Producer()


class BatchHeader(msgspec.Struct, frozen=True, gc=False):
    """The facts of a batch. ``length`` is all of it, header included."""

    length: int
    count: int
    codec: int
    flags: int
    table_length: int
    producer: Producer
    first_timestamp_ms: int
    largest_timestamp_ms: int


def seal_batch(
    body: list[bytes],
    codec: Codec,
    count: int,
    flags: int,
    producer: Producer,
    times: tuple[int, int],
) -> bytes:
    """Return the batch of ``body``: a place for the header, the table, then the columns.

    A payload that ``codec`` would not make smaller is left as it is.

    Raises:
        RecordTooLarge: More than 4 MiB before compression.
        CodecUnavailable: The package of ``codec`` is not installed.
    """
    length = BATCH_HEADER_BYTES + sum(map(len, body))
    if length > BATCH_BYTES_MAX:
        raise RecordTooLarge(length, BATCH_BYTES_MAX)
    table_length = len(body[1])
    if codec is not Codec.NONE:
        payload = compress(codec, b"".join(body[2:]))
        smaller = BATCH_HEADER_BYTES + table_length + len(payload)
        if smaller < length:
            length = smaller
            body[2:] = [payload]
        else:
            codec = Codec.NONE
    body[0] = _CHECKED.pack(
        *(BATCH_MAGIC, BATCH_FORMAT, codec, flags, 0, length, table_length, count),
        *(producer.epoch, producer.id, producer.base_sequence, producer.known_through, *times),
    )
    inside = b"".join(body)
    return _OUTSIDE.pack(0, 0, crc32c(inside)) + inside


def stamped(batch: Buffer, producer: Producer) -> tuple[bytes, memoryview]:
    """Return ``batch`` as one of ``producer``: a new header, and the rest of it without a copy."""
    view = memoryview(batch)
    head, rest = bytearray(view[:BATCH_HEADER_BYTES]), view[BATCH_HEADER_BYTES:]
    _STAMP.pack_into(
        *(head, _STAMP_AT, producer.epoch, producer.id),
        *(producer.base_sequence, producer.known_through),
    )
    checksum = crc32c(rest, crc32c(memoryview(head)[_CHECKED_AT:]))
    _CHECKSUM.pack_into(head, _CHECKSUM_AT, checksum)
    return bytes(head), rest


def batch_length(buffer: Buffer, position: int = 0) -> int:
    """Return the length that the batch at ``position`` claims, to split stored batches.

    Raises:
        BadBatch: Fewer bytes than a header.
    """
    if position + BATCH_HEADER_BYTES > len(buffer):
        raise BadBatch(f"{len(buffer) - position} bytes are less than a batch header")
    length: int = _LENGTH.unpack_from(buffer, position + _LENGTH_AT)[0]
    return length


def table_length_of(buffer: Buffer, position: int = 0) -> int:
    """Return the length of the record table that the batch at ``position`` claims to have."""
    length: int = _LENGTH.unpack_from(buffer, position + _TABLE_LENGTH_AT)[0]
    return length


def batch_facts(buffer: Buffer, position: int = 0) -> tuple[int, int]:
    """Return record count and largest timestamp of a batch that was checked before."""
    count, largest = _FACTS.unpack_from(buffer, position + _FACTS_AT)
    return count, largest


AppendFacts = tuple[int, int, int, int, int, int, int]
"""Length, count, producer epoch, producer id, base sequence, known through, largest timestamp."""


def append_facts(buffer: Buffer, position: int = 0) -> AppendFacts:
    """Return what the machine needs of a batch that was checked before, in one look."""
    facts: AppendFacts = _APPEND_FACTS.unpack_from(buffer, position)
    return facts


def parse_batch_header(buffer: Buffer) -> BatchHeader:
    """Check the one batch that ``buffer`` is, checksum included, and return its facts.

    Raises:
        BadBatch: It is no batch, or fails its checksum.
        RecordTooLarge: It is over 4 MiB or 10 000 records.
    """
    size = len(buffer)
    if size < BATCH_HEADER_BYTES:
        raise BadBatch(f"{size} bytes are less than a batch header")
    if size > BATCH_BYTES_MAX:
        raise RecordTooLarge(size, BATCH_BYTES_MAX)
    # fmt: off
    (_, _, checksum, magic, form, codec, flags, reserved,
     length, table_length, count, epoch, producer_id, sequence, known_through,
     first, largest) = _HEADER.unpack_from(buffer, 0)
    # fmt: on
    if magic != BATCH_MAGIC or form != BATCH_FORMAT:
        raise BadBatch(f"magic {magic:#06x}, format {form}: not a batch of this version")
    if length != size:
        raise BadBatch(f"the batch claims {length} bytes and has {size}")
    if crc32c(memoryview(buffer)[_CHECKED_AT:]) != checksum:
        raise BadBatch("the batch fails its checksum; it was damaged on the way, send it again")
    if table_length > size - BATCH_HEADER_BYTES or reserved or not count:
        raise BadBatch(f"a batch of {count} records with a table of {table_length} bytes")
    if count > BATCH_RECORDS_MAX:
        raise RecordTooLarge(count, BATCH_RECORDS_MAX)
    if table_length:
        check_table(table_of(buffer, table_length), count)
    producer = Producer(producer_id, epoch, sequence, known_through) if producer_id else ANONYMOUS
    return BatchHeader(length, count, codec, flags, table_length, producer, first, largest)


def parse_stored_header(buffer: Buffer) -> BatchHeader:
    """Check a batch as it is appended and lies in the log: nobody has written its place into it.

    Base offset and term are outside the checksum. In the log they are 0, so a
    bit of them that rotted on a disk is noticed too.

    Raises:
        BadBatch: As ``parse_batch_header``, or base offset or term is not 0.
        RecordTooLarge: As ``parse_batch_header``.
    """
    header = parse_batch_header(buffer)
    if memoryview(buffer)[: len(_NOWHERE)] != _NOWHERE:
        raise BadBatch("base offset and term of a batch are 0 until it is served; send them so")
    return header


def table_of(buffer: Buffer, length: int) -> memoryview:
    """Return the record table of a batch, which is ``length`` bytes long."""
    return memoryview(buffer)[BATCH_HEADER_BYTES : BATCH_HEADER_BYTES + length]
