"""The record table: facts of single records that a broker may read (ruling 11).

It lies between the header of a batch and its payload and is never compressed,
so that tags can be filtered, keys found and FIFO groups told apart by somebody
who has no codec. It is optional: a batch whose records have no such facts has
none. Little-endian, one row a record, in columns::

    flags u16 | reserved u16
    sizes u32[count]                 bytes of value, key and headers, uncompressed
    key hashes u64[count]            if flagged; 0: no key
    FIFO key hashes u64[count]       if flagged; 0: no FIFO key
    tag lengths i16[count] | tags    if flagged; UTF-8; -1: no tag
    id length u16 | id               if flagged; UTF-8; the batch has one record

The id is a fact of the batch (rulings 11 and 30): a record with one has a batch of
its own, so that a broker finds it at the end of the table without reading columns.

A hash is ``key_hash``: part of the format, the same in every language.
"""

import struct
from enum import IntEnum
from hashlib import blake2b
from itertools import accumulate
from typing import Final

import msgspec

from raftlog.base.errors import BadBatch, BadRequest
from raftlog.base.limits import ID_CHARACTERS_MAX, TAG_CHARACTERS_MAX

_HEAD: Final = struct.Struct("<HH")
_ID: Final = struct.Struct("<H")
_NO_TAG: Final = -1
_CHARACTER_BYTES_MAX: Final = 4
"""Of UTF-8."""
_HASH_BYTES: Final = 8


class TableFlag(IntEnum):
    """Which columns there are, beside the sizes."""

    KEY_HASHES = 1
    FIFO_KEY_HASHES = 2
    TAGS = 4
    ID = 8
    """Not a column: the business id of the only record."""


_FLAGS: Final = int(
    TableFlag.KEY_HASHES | TableFlag.FIFO_KEY_HASHES | TableFlag.TAGS | TableFlag.ID
)


class RecordTable(msgspec.Struct, frozen=True, gc=False):
    """The columns, each as long as the batch has records. None: the column is left out."""

    sizes: tuple[int, ...]
    tags: tuple[str | None, ...] | None = None
    key_hashes: tuple[int, ...] | None = None
    fifo_key_hashes: tuple[int, ...] | None = None
    id: str | None = None
    """The business id of the only record, if it has one."""


class _Layout(msgspec.Struct, frozen=True, gc=False):
    """Where the columns lie, after a check that they fill the table."""

    key_hashes_at: int
    fifo_key_hashes_at: int
    tags_at: int
    """0, as above: there is no such column."""
    tag_lengths: tuple[int, ...]
    tags_end: int
    id_at: int


def key_hash(key: bytes) -> int:
    """Return the hash of a key, 64 bits and never 0: BLAKE2b of 8 bytes, little-endian."""
    return int.from_bytes(blake2b(key, digest_size=_HASH_BYTES).digest(), "little") or 1


def encode_table(table: RecordTable) -> bytes:
    """Return the bytes of ``table``.

    Raises:
        BadRequest: A tag or the id is too long, or is not text.
    """
    count = len(table.sizes)
    flags = 0
    parts = [b"", struct.pack(f"<{count}I", *table.sizes)]
    for flag, hashes in (
        (TableFlag.KEY_HASHES, table.key_hashes),
        (TableFlag.FIFO_KEY_HASHES, table.fifo_key_hashes),
    ):
        if hashes is not None:
            assert len(hashes) == count, f"{len(hashes)} hashes for {count} records"
            flags |= flag
            parts.append(struct.pack(f"<{count}Q", *hashes))
    if table.tags is not None:
        assert len(table.tags) == count, f"{len(table.tags)} tags for {count} records"
        flags |= TableFlag.TAGS
        tags = [_encode_tag(tag) for tag in table.tags]
        lengths = (_NO_TAG if tag is None else len(tag) for tag in tags)
        parts.append(struct.pack(f"<{count}h", *lengths))
        parts.extend(tag for tag in tags if tag)
    if table.id is not None:
        assert count == 1, f"an id for {count} records"
        flags |= TableFlag.ID
        encoded = encode_id(table.id)
        parts += (_ID.pack(len(encoded)), encoded)
    parts[0] = _HEAD.pack(flags, 0)
    return b"".join(parts)


def check_table(table: memoryview, count: int) -> None:
    """Check that ``table`` has the columns that it says, at a cost that a gate can bear.

    Raises:
        BadBatch: It has not. That each tag is text is left to ``parse_table``.
    """
    _layout(table, count)


def parse_table(table: memoryview, count: int) -> RecordTable:
    """Check every byte of ``table`` and return what it says.

    Raises:
        BadBatch: A column is not what it should be.
    """
    layout = _layout(table, count)
    return RecordTable(
        struct.unpack_from(f"<{count}I", table, _HEAD.size),
        _tags(table, layout) if layout.tags_at else None,
        _hashes(table, layout.key_hashes_at, count),
        _hashes(table, layout.fifo_key_hashes_at, count),
        _id(table, layout.id_at) if layout.id_at else None,
    )


def has_id(table: memoryview) -> bool:
    """Whether a table that was checked says that its batch's only record has a business id."""
    flags: int = _HEAD.unpack_from(table, 0)[0]
    return bool(flags & TableFlag.ID)


def has_all_fifo_keys(table: memoryview, count: int) -> bool:
    """Whether a table says that each of its records has a FIFO key, after a check of its layout.

    Raises:
        BadBatch: It has not the columns that it says.
    """
    layout = _layout(table, count)
    return 0 not in (_hashes(table, layout.fifo_key_hashes_at, count) or (0,))


def id_of(table: memoryview, count: int) -> str:
    """Return the business id that ``table`` has, after a check of its layout and of the id.

    Raises:
        BadBatch: It has none, or not one that can be.
    """
    layout = _layout(table, count)
    if not layout.id_at:
        raise BadBatch("a record table without a business id")
    return _id(table, layout.id_at)


def encode_id(id_: str) -> bytes:
    """Return the bytes of a business id.

    Raises:
        BadRequest: It is empty, longer than 127 characters, or not text.
    """
    if not 0 < len(id_) <= ID_CHARACTERS_MAX:
        raise BadRequest(f"an id of {len(id_)} characters; 1 to {ID_CHARACTERS_MAX}")
    try:
        return id_.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise BadRequest(f"an id that is not text: {error}") from error


def _layout(table: memoryview, count: int) -> _Layout:
    if len(table) < _HEAD.size:
        raise BadBatch(f"a record table of {len(table)} bytes")
    flags, reserved = _HEAD.unpack_from(table, 0)
    if flags & ~_FLAGS or reserved:
        raise BadBatch(
            f"a record table with flags {flags:#06x}: a newer producer wrote this batch; use "
            "that version of raftlog"
        )
    end = _HEAD.size + 4 * count
    key_hashes_at = fifo_key_hashes_at = tags_at = 0
    if flags & TableFlag.KEY_HASHES:
        key_hashes_at = end
        end += _HASH_BYTES * count
    if flags & TableFlag.FIFO_KEY_HASHES:
        fifo_key_hashes_at = end
        end += _HASH_BYTES * count
    id_at = tags_end = 0
    lengths: tuple[int, ...] = ()
    if flags & TableFlag.TAGS:
        if end + 2 * count > len(table):
            raise BadBatch(f"a record table of {len(table)} bytes for {count} records")
        lengths = struct.unpack_from(f"<{count}h", table, end)
        longest = _CHARACTER_BYTES_MAX * TAG_CHARACTERS_MAX
        if not _NO_TAG <= min(lengths) <= max(lengths) <= longest:
            raise BadBatch(f"a tag of {min(lengths)} or {max(lengths)} bytes in a record table")
        tags_at = end + 2 * count
        end = tags_end = tags_at + sum(lengths) + lengths.count(_NO_TAG)
    if flags & TableFlag.ID:
        if count != 1 or end + _ID.size > len(table):
            raise BadBatch(f"{count} records with one business id; one has a batch of its own")
        id_at = end
        end += _ID.size + int(_ID.unpack_from(table, end)[0])
    if end != len(table):
        raise BadBatch(f"a record table of {len(table)} bytes with columns of {end}")
    return _Layout(key_hashes_at, fifo_key_hashes_at, tags_at, lengths, tags_end, id_at)


def _hashes(table: memoryview, position: int, count: int) -> tuple[int, ...] | None:
    return struct.unpack_from(f"<{count}Q", table, position) if position else None


def _tags(table: memoryview, layout: _Layout) -> tuple[str | None, ...]:
    blob = bytes(table[layout.tags_at : layout.tags_end])
    ends = accumulate(max(length, 0) for length in layout.tag_lengths)
    try:
        tags = tuple(
            None if length == _NO_TAG else blob[end - length : end].decode()
            for length, end in zip(layout.tag_lengths, ends, strict=True)
        )
    except UnicodeDecodeError as error:
        raise BadBatch(f"a tag in a record table is not UTF-8: {error}") from error
    longest = max(len(tag or "") for tag in tags)
    if longest > TAG_CHARACTERS_MAX:
        raise BadBatch(f"a tag of {longest} characters in a record table")
    return tags


def _encode_tag(tag: str | None) -> bytes | None:
    if tag is None:
        return None
    if len(tag) > TAG_CHARACTERS_MAX:
        raise BadRequest(f"a tag of {len(tag)} characters; {TAG_CHARACTERS_MAX} at most")
    try:
        return tag.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise BadRequest(f"a tag that is not text: {error}") from error


def _id(table: memoryview, position: int) -> str:
    data = bytes(table[position + _ID.size :])
    try:
        found = data.decode()
    except UnicodeDecodeError as error:
        raise BadBatch(f"a business id that is not UTF-8: {error}") from error
    if not 0 < len(found) <= ID_CHARACTERS_MAX:
        raise BadBatch(f"a business id of {len(found)} characters; 1 to {ID_CHARACTERS_MAX}")
    return found
