"""``members``: where in the log its configuration entries are, and what they say.

A replica obeys the newest configuration of its log, committed or not (Raft
§4.1), and must know it before it has read the log: a start reads one segment,
not all. So whenever a configuration entry is appended this file is replaced
first, durably, and names the newest committed one and every later one::

    plan:  truncate  ->  members.new, fsync, rename  ->  append the entry

A row counts if the log has that very entry: by the chain value, not by index
and term alone. So a row whose entry was never written, or was truncated, says
nothing, and nothing that lies in the log is missing here. Two copies in
different blocks; if both are bad the node refuses to start, because it could
count votes of those who have none. A log without the file, made before there
was one, never had a configuration but that of its formation.

Little-endian, each copy::

    magic 4s | length u32 | rows (MessagePack) | crc32c u32
"""

import struct
from collections.abc import Sequence
from typing import Final

import msgspec
from crc32c import crc32c

from raftlog.base.entry import Entry, EntryKind
from raftlog.base.errors import DamagedLog
from raftlog.base.ids import Index
from raftlog.base.limits import BLOCK_BYTES
from raftlog.storage.files import Files

MEMBERS: Final = "members"
_HEAD: Final = struct.Struct("<4sI")
_CRC: Final = struct.Struct("<I")
_MAGIC: Final = b"RLMB"


class ConfigurationRow(msgspec.Struct, frozen=True, array_like=True):
    """A configuration entry: its index, its chain value, its body."""

    index: Index
    checksum: int
    body: bytes


def newest_rows(rows: Sequence[ConfigurationRow], commit: Index) -> list[ConfigurationRow]:
    """Return the newest row at or below ``commit``, and all later ones."""
    committed = [row for row in rows if row.index <= commit]
    return [*committed[-1:], *(row for row in rows if row.index > commit)]


def rows_after(
    rows: Sequence[ConfigurationRow],
    truncate_to: Index | None,
    entries: Sequence[Entry],
    commit: Index,
) -> list[ConfigurationRow] | None:
    """Return what the file must name before ``entries`` are written; None if nothing changes."""
    if truncate_to is None:
        for entry in entries:
            if entry.kind is EntryKind.CONFIGURATION:
                break
        else:
            return None
    kept = [row for row in rows if truncate_to is None or row.index <= truncate_to]
    new = [
        ConfigurationRow(entry.index, entry.checksum, bytes(entry.body))
        for entry in entries
        if entry.kind is EntryKind.CONFIGURATION
    ]
    if not new and len(kept) == len(rows):
        return None
    return newest_rows([*kept, *new], commit)


def write_rows(files: Files, directory: str, rows: Sequence[ConfigurationRow]) -> None:
    """Replace the file. Returning means durable."""
    payload = msgspec.msgpack.encode(rows)
    copy = _HEAD.pack(_MAGIC, len(payload)) + payload
    copy += _CRC.pack(crc32c(copy))
    room = -(-len(copy) // BLOCK_BYTES) * BLOCK_BYTES
    new = f"{directory}/{MEMBERS}.new"
    file = files.open(new, create=True)
    file.truncate(0)
    file.pwrite([copy.ljust(room, b"\0"), copy.ljust(room, b"\0")], 0)
    file.sync()
    file.close()
    files.rename(new, f"{directory}/{MEMBERS}")
    files.sync_directory(directory)


def read_rows(files: Files, directory: str) -> list[ConfigurationRow]:
    """Return the rows of the file, none if there is no file.

    Raises:
        DamagedLog: Both copies are bad.
    """
    name = f"{directory}/{MEMBERS}"
    if not files.exists(name):
        return []
    file = files.open(name)
    try:
        size = file.size()
        for offset in (0, size // 2):
            rows = _decode(file.pread(size // 2, offset))
            if rows is not None:
                return rows
    except OSError as error:
        raise DamagedLog(f"{name} cannot be read: {error}") from error
    finally:
        file.close()
    raise DamagedLog(
        f"both copies in {name} are bad, so this node does not know who may vote; move the data "
        "directory away and let the node join as new: raftlog node run --join"
    )


def _decode(data: bytes) -> list[ConfigurationRow] | None:
    if len(data) < _HEAD.size:
        return None
    magic, length = _HEAD.unpack_from(data, 0)
    end = _HEAD.size + length
    if magic != _MAGIC or end + _CRC.size > len(data):
        return None
    if _CRC.unpack_from(data, end)[0] != crc32c(data[:end]):
        return None
    return msgspec.msgpack.decode(data[_HEAD.size : end], type=list[ConfigurationRow])
