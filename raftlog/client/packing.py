"""Records that will share a batch, as columns: nothing is made per record but its places."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from time import time_ns
from typing import Final

from crc32c import crc32c

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadRequest
from raftlog.base.limits import BATCH_BYTES_MAX, TAG_CHARACTERS_MAX
from raftlog.client.durations import unix_ms
from raftlog.client.receipts import Receipt
from raftlog.wire.batch import ANONYMOUS, Headers, Producer, Record, encode_columns
from raftlog.wire.record_table import encode_id

RECORD_OVERHEAD_BYTES: Final = 4096
"""More than a batch of one record needs beside key, value, headers and tag."""
LARGE_BYTES: Final = 1 << 20
"""Beyond it a record's size is looked at more closely before it is taken."""


class Columns:
    """The records of a batch that still grows. ``bytes`` is what they carry, roughly."""

    __slots__ = ("bytes", "futures", "headers", "id", "keys", "tags", "times", "values")

    def __init__(self) -> None:
        self.values: list[bytes | None] = []
        self.keys: list[bytes | None] | None = None
        self.times: list[int] | None = None
        self.tags: list[str | None] | None = None
        self.headers: dict[int, Headers] | None = None
        self.id: str | None = None
        """Of the only record: whoever adds one with an id adds no other."""
        self.futures: list[asyncio.Future[Receipt]] = []
        """Of whoever waits for the receipts, one for each record."""
        self.bytes = 0

    def add(self, value: bytes, key: bytes | None) -> None:
        """Add a record that is a value, perhaps with a key; ``bytes`` is its caller's."""
        if key is not None and self.keys is None:
            self.keys = [None] * len(self.values)
        if self.keys is not None:
            self.keys.append(key)
        self.values.append(value)
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
        if record.id is not None:
            assert not self.values, "a record with an id among others"
            self.id = record.id
        self.values.append(record.value)
        self.bytes += size_of(record)

    def encode(
        self, *, producer: Producer = ANONYMOUS, codec: str = "none", fifo: bool = False
    ) -> bytes:
        """Return the batch; a record without a time gets the time of now.

        ``fifo``: with the hashes of the keys, as a topic needs it that takes FIFO messages alone.

        Raises:
            RecordTooLarge: It is over a limit.
            BadRequest: A tag or the id is longer than 127 characters.
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
            id_=self.id,
            fifo=fifo,
        )


HeadersLike = Mapping[str, bytes] | Headers
"""Headers as they are given: a mapping, or pairs where a name may occur twice."""


def record_of(
    value: Buffer | None,
    key: bytes | None = None,
    headers: HeadersLike | None = None,
    tag: str | None = None,
    timestamp: datetime | None = None,
    id_: str | None = None,
) -> Record:
    """Return the record that a user means.

    Raises:
        TypeError: Value, key or a header is no bytes, or a header's name, tag or id no text.
        ValueError: The timestamp has no time zone.
        BadRequest: The tag or the id is too long, or it or a header's name has a lone surrogate.
    """
    for what, text in (("tag", tag), ("id", id_)):
        if text is not None and not isinstance(text, str):
            raise TypeError(f"a record's {what} is text, not {type(text).__name__}")
    if id_ is not None:
        encode_id(id_)
    if tag is not None and len(tag) > TAG_CHARACTERS_MAX:
        raise BadRequest(f"a tag of {len(tag)} characters; {TAG_CHARACTERS_MAX} at most")
    pairs: Headers = ()
    if headers:
        pairs = tuple(headers.items() if isinstance(headers, Mapping) else headers)
        for name, content in pairs:
            if type(name) is not str or type(content) is not bytes:
                raise TypeError("headers are pairs of a name (str) and a value (bytes)")
            _utf8("header's name", name)
    if tag is not None:
        _utf8("tag", tag)
    return Record(
        _bytes_of("value", value),
        _bytes_of("key", key),
        pairs,
        0 if timestamp is None else unix_ms(timestamp),
        tag,
        id_,
    )


def place_of_key(key: bytes, queues: int) -> int:
    """Return which of so many queues takes the records of a key: the same for everybody."""
    return crc32c(key) % queues


def route_of(record: Record) -> bytes | None:
    """Return what chooses the queue of a record: its key, else its id; None: any will do."""
    return route_by_id(record) if record.key is None else record.key


def route_by_id(record: Record) -> bytes | None:
    """Return what chooses the queue of a record without a key: its id, if it has one."""
    return None if record.id is None else record.id.encode()


def _utf8(what: str, text: str) -> int:
    """Return how many bytes it takes: known now, not when others wait for the same batch."""
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise BadRequest(f"a {what} that UTF-8 cannot carry: {text!r}") from error


def _bytes_of(what: str, given: Buffer | None) -> bytes | None:
    if given is None or type(given) is bytes:
        return given
    if not isinstance(given, bytes | bytearray | memoryview):
        raise TypeError(f"a {what} is bytes, not {type(given).__name__}; encode it first")
    return bytes(given)


def size_of(record: Record) -> int:
    """Return about how many bytes of a batch a record takes."""
    size = len(record.value or b"") + len(record.key or b"")
    if record.headers:
        size += sum(
            _utf8("header's name", name) + len(value) + 12 for name, value in record.headers
        )
    if record.id is not None:
        size += len(record.id.encode())
    return size if record.tag is None else size + 4 * len(record.tag)


def check_size(record: Record) -> None:
    """Refuse a record that does not fit into a batch of its own.

    Raises:
        RecordTooLarge: It does not.
    """
    if size_of(record) + RECORD_OVERHEAD_BYTES > BATCH_BYTES_MAX:
        encode_records([record])


def encode_records(records: Sequence[Record], *, codec: str = "none", fifo: bool = False) -> bytes:
    """Return the batch of ``records``, as ``send`` would make it; ``fifo``: with key hashes.

    Raises:
        RecordTooLarge: It is over a limit; send fewer.
        BadRequest: There are none, or a tag is too long.
        CodecUnavailable: No such codec, or its package is not installed.
    """
    if not records:
        raise BadRequest("a batch has at least one record")
    if len(records) > 1 and any(record.id is not None for record in records):
        raise BadRequest("a record with an id has a batch of its own: send it by itself")
    columns = Columns()
    for record in records:
        columns.add_record(record)
    return columns.encode(codec=codec, fifo=fifo)
