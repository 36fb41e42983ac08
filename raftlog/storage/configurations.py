"""``members``: where in the log its configuration entries are, and what they say.

A replica obeys the newest configuration of its log, committed or not (Raft
§4.1), and must know it before it has read the log: a start reads one segment,
not all. So whenever a configuration entry is appended this file is replaced
first, durably, and names the newest committed one and every later one::

    plan:  truncate  ->  members.new, fsync, rename  ->  append the entry  ->  members: written

A row counts if the log has that very entry: by the chain value, not by index
and term alone. So a row whose entry was never written, or was truncated, says
nothing, and nothing that lies in the log is missing here. A start takes it out of the
file: once the log is trimmed beyond its index, nobody could tell. Once its entry is durable
a row says so, and before it is truncated no more. A log without an entry that was
written has lost it, and perhaps a newer one: who may vote is not known, and going
by an older configuration a node might elect itself. Two copies in
different blocks; if both are bad the node refuses to start, because it could
count votes of those who have none. A log without the file, made before there
was one, never had a configuration but that of its formation.

Little-endian, each copy::

    magic 4s | length u32 | rows (MessagePack) | crc32c u32
"""

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
from crc32c import crc32c
from msgspec import structs

from raftlog.base.entry import Entry, EntryKind
from raftlog.base.errors import DamagedLog
from raftlog.base.ids import Index
from raftlog.base.limits import BLOCK_BYTES
from raftlog.base.membership import Membership, decode_membership
from raftlog.storage.files import Files
from raftlog.storage.plan import Step
from raftlog.storage.replacing import replace_file

MEMBERS: Final = "members"
_HEAD: Final = struct.Struct("<4sI")
_CRC: Final = struct.Struct("<I")
_MAGIC: Final = b"RLMB"


class ConfigurationRow(msgspec.Struct, frozen=True, array_like=True):
    """A configuration entry: its index, its chain value, its body."""

    index: Index
    checksum: int
    body: bytes
    written: bool = False
    """Whether the entry is in the log, durably."""


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


class Configurations:
    """What one shard's ``members`` names, as planned: see above for the order of its steps."""

    def __init__(self, files: Files, directory: str) -> None:
        self.rows: list[ConfigurationRow] = []
        """The newest committed configuration entry and all later ones."""
        self._files = files
        self._directory = directory
        self._new_from: Index | None = None
        """Rows from there on are of entries that are planned, and not known to be durable."""

    def load(self, has: Callable[[ConfigurationRow], bool]) -> None:
        """Read the file; rows whose entries the log does not have go out of it. Blocks.

        Raises:
            DamagedLog: The file is bad, or the log has lost an entry that was written.
            StorageFailed: It could not be written.
        """
        rows = read_rows(self._files, self._directory)
        self.rows = [row for row in rows if has(row)]
        for row in rows:
            if row.written and row not in self.rows:
                raise DamagedLog(
                    f"{self._directory}/{MEMBERS} names entry {row.index}, which the log has no "
                    "more, so this node does not know who may vote: a disk took back what it had "
                    "confirmed; copy the data directory away and let the node join as new"
                )
        if self.rows != rows:
            write_rows(self._files, self._directory, self.rows)

    def before_truncation(self, to: Index) -> Sequence[Step]:
        """Return what comes before entries behind ``to`` are truncated."""
        if not any(row.written and row.index > to for row in self.rows):
            return ()
        rows = [_unwritten(row) if row.index > to else row for row in self.rows]
        return self._replace(rows)

    def before_append(
        self, truncate_to: Index | None, entries: Sequence[Entry], commit: Index
    ) -> Sequence[Step]:
        """Return what comes before ``entries`` are written, and after what they truncate."""
        rows = rows_after(self.rows, truncate_to, entries, commit)
        if rows is None:
            return ()
        self.rows = rows
        for entry in entries:
            if self._new_from is None and entry.kind is EntryKind.CONFIGURATION:
                self._new_from = entry.index
        return self._replace(rows)

    def before_reset(self, row: ConfigurationRow) -> Sequence[Step]:
        """Return what comes before the log is reset: until then the old rows count."""
        rows = [*map(_unwritten, self.rows), row]
        self.rows = [row]
        self._new_from = row.index
        return self._replace(rows)

    def after_append(self) -> Sequence[Step]:
        """Return what comes after everything that was planned is durable."""
        new_from = self._new_from
        if new_from is None:
            return ()
        # Others are as the file says: damage may hide whether such an entry is the row's.
        self.rows = [
            structs.replace(row, written=True) if row.index >= new_from else row
            for row in self.rows
        ]
        self._new_from = None
        return self._replace(self.rows)

    def _replace(self, rows: Sequence[ConfigurationRow]) -> Sequence[Step]:
        return (partial(write_rows, self._files, self._directory, rows),)


def forget_written(files: Files, directory: str) -> None:
    """Let a log have lost entries that the file says were written. Returning means durable.

    Raises:
        DamagedLog: Both copies are bad.
    """
    rows = read_rows(files, directory)
    if rows:
        write_rows(files, directory, list(map(_unwritten, rows)))


def _unwritten(row: ConfigurationRow) -> ConfigurationRow:
    return structs.replace(row, written=False)


def newest_of(rows: Sequence[ConfigurationRow], formed: Membership) -> Membership:
    """Return the newest configuration of ``rows``, ``formed`` if there are none.

    Raises:
        CorruptFrame: It is not one of this version.
    """
    return decode_membership(rows[-1].body) if rows else formed


def write_rows(files: Files, directory: str, rows: Sequence[ConfigurationRow]) -> None:
    """Replace the file. Returning means durable."""
    payload = msgspec.msgpack.encode(rows)
    copy = _HEAD.pack(_MAGIC, len(payload)) + payload
    copy += _CRC.pack(crc32c(copy))
    room = -(-len(copy) // BLOCK_BYTES) * BLOCK_BYTES
    padded = copy.ljust(room, b"\0")
    replace_file(files, directory, MEMBERS, [padded, padded])


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
