"""Record batches: what a producer sends, the log stores and a consumer gets, unchanged.

Little-endian (ruling 11)::

    base offset u64 | leader term u64 | crc32c u32          outside the checksum
    magic u16 | format u8 | codec u8 | flags u16 | reserved u16
    length u32 | table length u32 | count u32 | producer epoch u32
    producer id u64 | base sequence u64 | known through u64
    first timestamp i64 | largest timestamp i64
    record table | payload

``length`` counts the whole batch, so that batches can lie one after the other.
Base offset and term may be written by whoever knows them without touching the
checksum; in the log they are 0. The record table is for facts of single records
that a broker needs (tag, FIFO key); no producer writes one yet, and a reader
skips it by its length.

The payload has columns, not rows::

    value lengths i32[count] | key lengths i32[count] | timestamp deltas i64[count]
    values | keys | headers

A length of -1 is "none". Columns that say nothing are left out (flags). So the
cost of a batch is a few calls into C, whatever its count: no object per record
is made to write one, and a consumer that only wants the values has them as one
buffer. ``headers`` is MessagePack: pairs of record number and its list of
(name, value).
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntFlag
from itertools import accumulate, repeat
from typing import Final

import msgspec
from crc32c import crc32c

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, RecordTooLarge
from raftlog.base.limits import BATCH_BYTES_MAX, BATCH_RECORDS_MAX

BATCH_MAGIC: Final = 0x4252
BATCH_FORMAT: Final = 1
CODEC_NONE: Final = 0
"""The payload is not compressed. No other codec exists yet."""
_HEADER: Final = struct.Struct("<QQIHBBHHIIIIQQQqq")
BATCH_HEADER_BYTES: Final = _HEADER.size
_CHECKED: Final = struct.Struct("<HBBHHIIIIQQQqq")
_OUTSIDE: Final = struct.Struct("<QQI")
_CHECKED_AT: Final = _OUTSIDE.size
_LENGTH: Final = struct.Struct("<I")
_LENGTH_AT: Final = 28
_FACTS: Final = struct.Struct("<I36xq")
_FACTS_AT: Final = 36
_APPEND_FACTS: Final = struct.Struct("<I4xIIQQQ8xq")
_NONE: Final = -1

Headers = Sequence[tuple[str, bytes]]


class BatchFlag(IntFlag):
    """What is in the payload."""

    KEYS = 1
    """Some record has a key."""
    TIMESTAMPS = 2
    """The records' timestamps differ from the first one's."""
    HEADERS = 4
    """Some record has headers."""
    NULL_VALUES = 8
    """Some record has no value."""


_FLAGS: Final = int(
    BatchFlag.KEYS | BatchFlag.TIMESTAMPS | BatchFlag.HEADERS | BatchFlag.NULL_VALUES
)


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record, as a user gives and gets it.

    ``timestamp_ms`` of 0 in a record to be sent means "the time of the batch".
    """

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int = 0


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


def encode_batch(
    records: Sequence[Record], *, timestamp_ms: int, producer: Producer = ANONYMOUS
) -> bytes:
    """Return the batch of ``records``; ``timestamp_ms`` is for those without a time.

    Raises:
        RecordTooLarge: More than 4 MiB, or more than 10 000 records.
    """
    times = [record.timestamp_ms or timestamp_ms for record in records]
    return encode_columns(
        [record.value for record in records],
        [record.key for record in records],
        timestamps_ms=times if any(time != timestamp_ms for time in times) else None,
        headers={
            number: record.headers for number, record in enumerate(records) if record.headers
        },
        timestamp_ms=timestamp_ms,
        producer=producer,
    )


def encode_columns(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    *,
    timestamp_ms: int,
    timestamps_ms: Sequence[int] | None = None,
    headers: Mapping[int, Headers] | None = None,
    producer: Producer = ANONYMOUS,
) -> bytes:
    """Return the batch of records given as columns: the fast way in.

    Args:
        values: The values, at least one.
        keys: As many keys, or None for none at all.
        timestamp_ms: The time of every record, unless ``timestamps_ms`` is given.
        timestamps_ms: As many timestamps.
        headers: By record number, for the records that have some.
        producer: Who made the batch.

    Raises:
        RecordTooLarge: More than 4 MiB, or more than 10 000 records.
    """
    count = len(values)
    assert count, "a batch without records"
    if count > BATCH_RECORDS_MAX:
        raise RecordTooLarge(count, BATCH_RECORDS_MAX)
    flags = 0
    lengths = struct.Struct(f"<{count}i")
    body: list[bytes] = [b""]
    if None in values:
        flags |= BatchFlag.NULL_VALUES
    body.append(lengths.pack(*_lengths(values, flags & BatchFlag.NULL_VALUES)))
    has_keys = keys is not None and any(key is not None for key in keys)
    if keys is not None and has_keys:
        assert len(keys) == count, f"{len(keys)} keys for {count} values"
        flags |= BatchFlag.KEYS
        body.append(lengths.pack(*_lengths(keys, 1)))
    first = largest = timestamp_ms
    if timestamps_ms is not None:
        assert len(timestamps_ms) == count, f"{len(timestamps_ms)} times for {count} values"
        flags |= BatchFlag.TIMESTAMPS
        first, largest = timestamps_ms[0], max(timestamps_ms)
        body.append(struct.pack(f"<{count}q", *(time - first for time in timestamps_ms)))
    body.append(_joined(values, flags & BatchFlag.NULL_VALUES))
    if keys is not None and has_keys:
        body.append(_joined(keys, 1))
    if headers:
        flags |= BatchFlag.HEADERS
        body.append(msgspec.msgpack.encode(list(headers.items())))
    return _sealed(body, count, flags, producer, (first, largest))


def _sealed(
    body: list[bytes], count: int, flags: int, producer: Producer, times: tuple[int, int]
) -> bytes:
    """Put the header before ``body``, whose first part is a place for it."""
    length = BATCH_HEADER_BYTES + sum(map(len, body))
    if length > BATCH_BYTES_MAX:
        raise RecordTooLarge(length, BATCH_BYTES_MAX)
    checked = _CHECKED.pack(
        *(BATCH_MAGIC, BATCH_FORMAT, CODEC_NONE, flags, 0, length, 0, count, producer.epoch),
        *(producer.id, producer.base_sequence, producer.known_through, *times),
    )
    body[0] = checked
    inside = b"".join(body)
    return _OUTSIDE.pack(0, 0, crc32c(inside)) + inside


def _lengths(column: Sequence[bytes | None], has_none: int) -> Iterable[int]:
    if has_none:
        return (_NONE if value is None else len(value) for value in column)
    return map(len, column)  # type: ignore[arg-type]  # no None in it


def _joined(column: Sequence[bytes | None], has_none: int) -> bytes:
    if has_none:
        return b"".join(value for value in column if value is not None)
    return b"".join(column)  # type: ignore[arg-type]  # no None in it


def batch_length(buffer: Buffer, position: int = 0) -> int:
    """Return the length that the batch at ``position`` claims, to split stored batches.

    Raises:
        BadBatch: Fewer bytes than a header.
    """
    if position + BATCH_HEADER_BYTES > len(buffer):
        raise BadBatch(f"{len(buffer) - position} bytes are less than a batch header")
    length: int = _LENGTH.unpack_from(buffer, position + _LENGTH_AT)[0]
    return length


def batch_facts(buffer: Buffer, position: int = 0) -> tuple[int, int]:
    """Return record count and largest timestamp of a batch that was checked before."""
    count, largest = _FACTS.unpack_from(buffer, position + _FACTS_AT)
    return count, largest


AppendFacts = tuple[int, int, int, int, int, int, int]
"""Length, count, producer epoch, producer id, base sequence, known through, largest timestamp."""


def append_facts(buffer: Buffer, position: int = 0) -> AppendFacts:
    """Return what the machine needs of a batch that was checked before, in one look."""
    facts: AppendFacts = _APPEND_FACTS.unpack_from(buffer, position + _LENGTH_AT)
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
    producer = Producer(producer_id, epoch, sequence, known_through) if producer_id else ANONYMOUS
    return BatchHeader(length, count, codec, flags, table_length, producer, first, largest)


class Batch:
    """A checked batch, with its columns reachable and nothing copied.

    Attributes:
        header: The facts.
        values: All values, one after the other.
        value_lengths: Their lengths; -1 for a record without a value.
    """

    __slots__ = ("_after_values", "_key_lengths", "_times", "header", "value_lengths", "values")

    def __init__(self, buffer: Buffer) -> None:
        """Check ``buffer``, which is kept alive and must not change.

        Raises:
            BadBatch: As ``parse_batch_header``, or columns that do not add up.
            RecordTooLarge: As ``parse_batch_header``.
        """
        header = self.header = parse_batch_header(buffer)
        if header.codec != CODEC_NONE or header.flags & ~_FLAGS:
            raise BadBatch(
                f"codec {header.codec}, flags {header.flags:#06x}: a newer producer wrote this "
                "batch; read it with that version of raftlog"
            )
        view = memoryview(buffer)[BATCH_HEADER_BYTES + header.table_length :]
        try:
            view = self._read_columns(view)
        except struct.error as error:
            raise BadBatch(f"a batch of {header.count} records is too short: {error}") from error
        size = _total(self.value_lengths, header.flags & BatchFlag.NULL_VALUES)
        if size > len(view):
            raise BadBatch(f"values of {size} bytes in {len(view)}")
        self.values = view[:size]
        self._after_values = view[size:]

    def _read_columns(self, view: memoryview) -> memoryview:
        count = self.header.count
        flags = self.header.flags
        lengths = f"<{count}i"
        self.value_lengths: tuple[int, ...] = struct.unpack_from(lengths, view)
        view = view[4 * count :]
        self._key_lengths: tuple[int, ...] | None = None
        if flags & BatchFlag.KEYS:
            self._key_lengths = struct.unpack_from(lengths, view)
            view = view[4 * count :]
        self._times: tuple[int, ...] | None = None
        if flags & BatchFlag.TIMESTAMPS:
            self._times = struct.unpack_from(f"<{count}q", view)
            view = view[8 * count :]
        return view

    def value_views(self) -> Iterator[memoryview]:
        """Yield each value without a copy; one that is none as an empty view."""
        position = 0
        for length in self.value_lengths:
            end = position + length if length > 0 else position
            yield self.values[position:end]
            position = end

    def records(self) -> Iterator[Record]:
        """Yield the records, in order.

        Raises:
            BadBatch: Keys or headers do not add up.
        """
        rest = self._after_values
        keys: Iterable[bytes | None] = repeat(None)
        if self._key_lengths is not None:
            size = _total(self._key_lengths, 1)
            if size > len(rest):
                raise BadBatch(f"keys of {size} bytes in {len(rest)}")
            keys = _split(rest[:size], self._key_lengths)
            rest = rest[size:]
        headers = _headers(rest) if self.header.flags & BatchFlag.HEADERS else {}
        first = self.header.first_timestamp_ms
        times = self._times or repeat(0)
        values = _split(self.values, self.value_lengths)
        for number, (value, key, delta) in enumerate(zip(values, keys, times, strict=False)):
            yield Record(value, key, headers.get(number, ()), first + delta)


def records(buffer: Buffer) -> Iterator[Record]:
    """Yield the records of one batch.

    Raises:
        BadBatch: It is no batch, or damaged.
        RecordTooLarge: It is over 4 MiB or 10 000 records.
    """
    return Batch(buffer).records()


def _total(lengths: tuple[int, ...], has_none: int) -> int:
    if min(lengths) < (_NONE if has_none else 0):
        raise BadBatch(f"a length of {min(lengths)}")
    return sum(lengths) + (lengths.count(_NONE) if has_none else 0)


def _split(column: memoryview, lengths: Sequence[int]) -> Iterator[bytes | None]:
    data = bytes(column)
    for length, end in zip(lengths, accumulate(max(size, 0) for size in lengths), strict=True):
        yield None if length == _NONE else data[end - length : end]


def _headers(column: memoryview) -> dict[int, Headers]:
    try:
        rows = msgspec.msgpack.decode(column, type=list[tuple[int, list[tuple[str, bytes]]]])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # a name that is not UTF-8
        raise BadBatch(f"the headers of a batch do not decode: {error}") from error
    return dict(rows)
