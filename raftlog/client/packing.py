"""Records that will share a batch, as columns: nothing is made per record but its places."""

import asyncio
from collections.abc import Sequence
from time import time_ns
from typing import Final

from raftlog.base.limits import BATCH_BYTES_MAX
from raftlog.client.receipts import Receipt
from raftlog.wire.batch import ANONYMOUS, Headers, Producer, Record, encode_columns

RECORD_OVERHEAD_BYTES: Final = 4096
"""More than a batch of one record needs beside key, value, headers and tag."""


class Columns:
    """The records of a batch that still grows. ``bytes`` is what they carry, roughly."""

    __slots__ = ("bytes", "futures", "headers", "keys", "tags", "times", "values")

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.keys: list[bytes | None] | None = None
        self.times: list[int] | None = None
        self.tags: list[str | None] | None = None
        self.headers: dict[int, Headers] | None = None
        self.futures: list[asyncio.Future[Receipt]] = []
        """Of whoever waits for the receipts, one for each record."""
        self.bytes = 0

    def add_value(self, value: bytes) -> None:
        """Add a record that is only a value."""
        self.values.append(value)
        self.bytes += len(value)
        if self.keys is not None:
            self.keys.append(None)
        if self.times is not None:
            self.times.append(0)
        if self.tags is not None:
            self.tags.append(None)

    def add_record(self, record: Record) -> None:
        """Add a record that is more than a value."""
        number = len(self.values)
        if record.key is not None and self.keys is None:
            self.keys = [None] * number
        if self.keys is not None:
            self.keys.append(record.key)
        if record.timestamp_ms and self.times is None:
            self.times = [0] * number
        if self.times is not None:
            self.times.append(record.timestamp_ms)
        if record.tag is not None and self.tags is None:
            self.tags = [None] * number
        if self.tags is not None:
            self.tags.append(record.tag)
        if record.headers:
            if self.headers is None:
                self.headers = {}
            self.headers[number] = record.headers
        self.values.append(record.value)
        self.bytes += size_of(record)

    def encode(self, *, producer: Producer = ANONYMOUS, codec: str = "none") -> bytes:
        """Return the batch; a record without a time gets the time of now.

        Raises:
            RecordTooLarge: It is over a limit.
            BadRequest: A tag is longer than 127 characters.
            CodecUnavailable: No such codec, or its package is not installed.
        """
        now_ms = time_ns() // 1_000_000
        times = self.times
        return encode_columns(
            self.values,
            self.keys,
            timestamp_ms=now_ms,
            timestamps_ms=None if times is None else [time or now_ms for time in times],
            headers=self.headers,
            tags=self.tags,
            producer=producer,
            codec=codec,
        )


def size_of(record: Record) -> int:
    """Return about how many bytes of a batch a record takes."""
    size = len(record.value or b"") + len(record.key or b"")
    if record.headers:
        size += sum(len(name) + len(value) + 12 for name, value in record.headers)
    return size if record.tag is None else size + 4 * len(record.tag)


def check_size(record: Record) -> None:
    """Refuse a record that does not fit into a batch of its own.

    Raises:
        RecordTooLarge: It does not.
    """
    if size_of(record) + RECORD_OVERHEAD_BYTES > BATCH_BYTES_MAX:
        encode_records([record])


def encode_records(records: Sequence[Record], *, codec: str = "none") -> bytes:
    """Return the batch of ``records``, as ``send`` would make it.

    Raises:
        RecordTooLarge: It is over a limit; send fewer.
        BadRequest: There are none, or a tag is too long.
        CodecUnavailable: No such codec, or its package is not installed.
    """
    columns = Columns()
    for record in records:
        columns.add_record(record)
    return columns.encode(codec=codec)
