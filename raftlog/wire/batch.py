"""Record batches: what a producer sends, the log stores and a consumer gets, unchanged.

::

    header | record table | payload

The header (``wire.batch_header``) is what a broker reads; the record table
(``wire.record_table``) it may read; the payload is the clients' own.

The payload has columns, not rows; with a codec, it is one compressed frame of
them (``wire.codecs``)::

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
from enum import IntEnum
from itertools import repeat
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadBatch, RecordTooLarge
from raftlog.base.limits import BATCH_BYTES_MAX, BATCH_RECORDS_MAX
from raftlog.wire.batch_header import (
    ANONYMOUS,
    BATCH_HEADER_BYTES,
    AppendFacts,
    BatchHeader,
    Producer,
    append_facts,
    batch_facts,
    batch_length,
    parse_batch_header,
    seal_batch,
    table_of,
)
from raftlog.wire.codecs import Codec, codec_named, decompress
from raftlog.wire.columns import joined, lengths, split, total
from raftlog.wire.record_table import RecordTable, encode_table, key_hash, parse_table

__all__ = [
    "ANONYMOUS",
    "BATCH_HEADER_BYTES",
    "AppendFacts",
    "Batch",
    "BatchFlag",
    "BatchHeader",
    "Headers",
    "Producer",
    "Record",
    "append_facts",
    "batch_facts",
    "batch_length",
    "encode_batch",
    "encode_columns",
    "parse_batch_header",
    "records",
]

Headers = Sequence[tuple[str, bytes]]


class BatchFlag(IntEnum):
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
    ``tag`` is for filters: at most 127 characters, readable by the broker. A record with an
    ``id`` (1 to 127 characters) is stored once in its topic's window; its batch has no other.
    """

    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp_ms: int = 0
    tag: str | None = None
    id: str | None = None


def encode_batch(
    records: Sequence[Record],
    *,
    timestamp_ms: int,
    producer: Producer = ANONYMOUS,
    codec: str = "none",
    fifo: bool = False,
) -> bytes:
    """Return the batch of ``records``; ``timestamp_ms`` is for those without a time.

    ``fifo``: as of ``encode_columns``.

    Raises:
        RecordTooLarge: As ``encode_columns``.
        BadRequest: As ``encode_columns``.
        CodecUnavailable: As ``encode_columns``.
    """
    assert len(records) == 1 or all(record.id is None for record in records), "an id among others"
    times = [record.timestamp_ms or timestamp_ms for record in records]
    return encode_columns(
        [record.value for record in records],
        [record.key for record in records],
        timestamps_ms=times if any(time != timestamp_ms for time in times) else None,
        headers={
            number: record.headers for number, record in enumerate(records) if record.headers
        },
        tags=[record.tag for record in records],
        timestamp_ms=timestamp_ms,
        producer=producer,
        codec=codec,
        id_=records[0].id,
        fifo=fifo,
    )


def encode_columns(  # noqa: PLR0913  (one column for each thing that a record may have)
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    *,
    timestamp_ms: int,
    timestamps_ms: Sequence[int] | None = None,
    headers: Mapping[int, Headers] | None = None,
    tags: Sequence[str | None] | None = None,
    producer: Producer = ANONYMOUS,
    codec: str = "none",
    id_: str | None = None,
    fifo: bool = False,
) -> bytes:
    """Return the batch of records given as columns: the fast way in.

    Args:
        values: The values, at least one.
        keys: As many keys, or None for none at all.
        timestamp_ms: The time of every record, unless ``timestamps_ms`` is given.
        timestamps_ms: As many timestamps.
        headers: By record number, for the records that have some.
        tags: As many tags, or None for none at all.
        producer: Who made the batch.
        codec: How the payload is compressed: "none", "zstd" or "lz4". One that would not
            get smaller is left as it is.
        id_: The business id of the only record.
        fifo: Tell the hashes of the keys to the broker: a topic that takes FIFO messages alone
            has nothing else to know a key by.

    Raises:
        RecordTooLarge: More than 4 MiB (before compression, so that a batch is not refused
            or accepted for what is in it), or more than 10 000 records.
        BadRequest: A tag or the id is too long.
        CodecUnavailable: No such codec, or its package is not installed.
    """
    count = len(values)
    assert count, "a batch without records"
    if count > BATCH_RECORDS_MAX:
        raise RecordTooLarge(count, BATCH_RECORDS_MAX)
    flags = 0
    column = f"<{count}i"
    has_nulls = None in values
    if has_nulls:
        flags |= BatchFlag.NULL_VALUES
    body = [b"", b"", struct.pack(column, *lengths(values, has_none=has_nulls))]
    has_keys = keys is not None and any(key is not None for key in keys)
    if keys is not None and has_keys:
        assert len(keys) == count, f"{len(keys)} keys for {count} values"
        flags |= BatchFlag.KEYS
        body.append(struct.pack(column, *lengths(keys, has_none=True)))
    first = largest = timestamp_ms
    if timestamps_ms is not None:
        assert len(timestamps_ms) == count, f"{len(timestamps_ms)} times for {count} values"
        flags |= BatchFlag.TIMESTAMPS
        first, largest = timestamps_ms[0], max(timestamps_ms)
        body.append(struct.pack(f"<{count}q", *(time - first for time in timestamps_ms)))
    body.append(joined(values, has_none=has_nulls))
    if keys is not None and has_keys:
        body.append(joined(keys, has_none=True))
    if headers:
        flags |= BatchFlag.HEADERS
        body.append(msgspec.msgpack.encode(list(headers.items())))
    has_tags = tags is not None and any(tag is not None for tag in tags)
    hashes = _hashes(keys) if fifo and has_keys and keys is not None else None
    if has_tags or id_ is not None or hashes is not None:
        sizes = _sizes(values, keys or (), headers or {})
        tagged = tuple(tags) if tags is not None and has_tags else None
        body[1] = encode_table(RecordTable(sizes, tags=tagged, fifo_key_hashes=hashes, id=id_))
    return seal_batch(body, codec_named(codec), count, flags, producer, (first, largest))


def _hashes(keys: Sequence[bytes | None]) -> tuple[int, ...]:
    """Return the hash of each key; 0 where there is none."""
    known = {key: key_hash(key) for key in set(keys) if key is not None}
    return tuple(0 if key is None else known[key] for key in keys)


def _sizes(
    values: Sequence[bytes | None], keys: Sequence[bytes | None], headers: Mapping[int, Headers]
) -> tuple[int, ...]:
    """Return the size of each record, for its row in the record table."""
    sizes = [len(value or b"") for value in values]
    for number, key in enumerate(keys):
        sizes[number] += len(key or b"")
    for number, pairs in headers.items():
        sizes[number] += sum(len(name.encode()) + len(value) for name, value in pairs)
    return tuple(sizes)


class Batch:
    """A checked batch, with its columns reachable; nothing is copied that is not compressed.

    Attributes:
        header: The facts.
        payload_bytes: Of its columns, uncompressed.
        id: The business id of its only record, or None.
        values: All values, one after the other.
        value_lengths: Their lengths; -1 for a record without a value.
    """

    __slots__ = (
        "_after_values",
        "_key_lengths",
        "_tags",
        "_times",
        "header",
        "id",
        "payload_bytes",
        "value_lengths",
        "values",
    )

    def __init__(self, buffer: Buffer) -> None:
        """Check ``buffer``, which is kept alive and must not change.

        Raises:
            BadBatch: As ``parse_batch_header``; or columns that do not add up, or a payload
                that does not open, or opens to more than a batch may be.
            RecordTooLarge: As ``parse_batch_header``.
            CodecUnavailable: It is compressed, and the package for that is not installed.
        """
        header = self.header = parse_batch_header(buffer)
        if header.flags & ~_FLAGS:
            raise BadBatch(
                f"flags {header.flags:#06x}: a newer producer wrote this batch; read it with "
                "that version of raftlog"
            )
        self._tags: tuple[str | None, ...] | None = None
        self.id: str | None = None
        if header.table_length:
            table = parse_table(table_of(buffer, header.table_length), header.count)
            self._tags, self.id = table.tags, table.id
        before = BATCH_HEADER_BYTES + header.table_length
        view = memoryview(buffer)[before:]
        if header.codec != Codec.NONE:
            view = memoryview(decompress(header.codec, view, BATCH_BYTES_MAX - before))
        self.payload_bytes = len(view)
        try:
            view = self._read_columns(view)
        except struct.error as error:
            raise BadBatch(f"a batch of {header.count} records is too short: {error}") from error
        has_nulls = bool(header.flags & BatchFlag.NULL_VALUES)
        size = total(self.value_lengths, has_none=has_nulls)
        if size > len(view):
            raise BadBatch(f"values of {size} bytes in {len(view)}")
        self.values = view[:size]
        self._after_values = view[size:]

    def _read_columns(self, view: memoryview) -> memoryview:
        count = self.header.count
        flags = self.header.flags
        column = f"<{count}i"
        self.value_lengths: tuple[int, ...] = struct.unpack_from(column, view)
        view = view[4 * count :]
        self._key_lengths: tuple[int, ...] | None = None
        if flags & BatchFlag.KEYS:
            self._key_lengths = struct.unpack_from(column, view)
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

    @property
    def tags(self) -> Sequence[str | None]:
        """The tag of each record; empty if none has one."""
        return self._tags or ()

    def headers(self) -> Mapping[int, Headers]:
        """Return the headers by number of their record, of those that have some.

        Raises:
            BadBatch: Keys or headers do not add up.
        """
        if not self.header.flags & BatchFlag.HEADERS:
            return {}
        return _headers(self._after_values[self._key_bytes() :])

    def with_key(self, key: bytes) -> list[int]:
        """Return the numbers of the records that have this key, in order.

        Raises:
            BadBatch: Keys do not add up.
        """
        column = self._after_values[: self._key_bytes()]
        if self._key_lengths is None or (key and key not in bytes(column)):
            return []
        size, position = len(key), 0
        found: list[int] = []
        for number, length in enumerate(self._key_lengths):
            if length == size and column[position : position + size] == key:
                found.append(number)
            position += max(length, 0)
        return found

    def _key_bytes(self) -> int:
        if self._key_lengths is None:
            return 0
        size = total(self._key_lengths, has_none=True)
        if size > len(self._after_values):
            raise BadBatch(f"keys of {size} bytes in {len(self._after_values)}")
        return size

    def records(self) -> Iterator[Record]:
        """Yield the records, in order.

        Raises:
            BadBatch: Keys or headers do not add up.
        """
        keys: Iterable[bytes | None] = repeat(None)
        if self._key_lengths is not None:
            keys = split(self._after_values[: self._key_bytes()], self._key_lengths)
        headers = self.headers()
        first = self.header.first_timestamp_ms
        times = self._times or repeat(0)
        tags: Iterable[str | None] = self._tags or repeat(None)
        values = split(self.values, self.value_lengths)
        rows = enumerate(zip(values, keys, times, tags, strict=False))
        if self.id is not None:  # then there is one record
            for number, (value, key, delta, tag) in rows:
                yield Record(value, key, headers.get(number, ()), first + delta, tag, self.id)
            return
        for number, (value, key, delta, tag) in rows:
            yield Record(value, key, headers.get(number, ()), first + delta, tag)


def records(buffer: Buffer) -> Iterator[Record]:
    """Yield the records of one batch.

    Raises:
        BadBatch: It is no batch, or damaged.
        RecordTooLarge: It is over 4 MiB or 10 000 records.
        CodecUnavailable: It is compressed, and the package for that is not installed.
    """
    return Batch(buffer).records()


def _headers(column: memoryview) -> dict[int, Headers]:
    try:
        rows = msgspec.msgpack.decode(column, type=list[tuple[int, list[tuple[str, bytes]]]])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # a name that is not UTF-8
        raise BadBatch(f"the headers of a batch do not decode: {error}") from error
    return dict(rows)
