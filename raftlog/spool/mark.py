"""What a spool's files must hold at least: ``mark``.

A bad end of the newest file is a write that never finished, or damage to something that
was promised. The mark tells: it says how far the files were good after the last sync. It is
written after each, and synced when files go and at a clean end, so that after kill -9 it is
exact, and after a power cut at most older. Slots in different blocks: what is to be synced goes
into two of them in turn, so that one of these is always whole; what is not, into the third.
"""

import struct
from typing import Final, Self

import msgspec
from crc32c import crc32c

from raftlog.base.errors import DamagedLog
from raftlog.base.limits import BLOCK_BYTES
from raftlog.storage.files import File, Files

_SLOT: Final = struct.Struct("<IQQQQ")
_CRC: Final = struct.Struct("<I")
_MAGIC: Final = 0x4D505352
_LOOSE: Final = 2
_SLOTS: Final = range(3)
NAME: Final = "mark"


class Promise(msgspec.Struct, frozen=True):
    """The files from number ``first`` on are needed; the one of ``newest`` is good to ``end``."""

    first: int
    newest: int
    end: int


class Mark:
    """The file ``mark`` of one spool."""

    def __init__(self, file: File, turn: int, promise: Promise) -> None:
        self.promise = promise
        self._file = file
        self._turn = turn
        self._fixed = 0
        """The slot that is written next, of those that are synced."""

    @classmethod
    def create(cls, files: Files, path: str, promise: Promise) -> Self:
        """Make it, durably but for its name."""
        file = files.open(path, create=True)
        file.truncate(0)
        file.allocate(len(_SLOTS) * BLOCK_BYTES)
        mark = cls(file, 0, promise)
        mark.fix(promise)
        return mark

    @classmethod
    def open(cls, files: Files, path: str) -> Self:
        """Read the newest good slot.

        Raises:
            DamagedLog: There is none.
        """
        file = files.open(path, create=True)
        found = {at: slot for at in _SLOTS if (slot := _read(file, at * BLOCK_BYTES)) is not None}
        fixed = [at for at in found if at != _LOOSE]
        if not fixed:
            file.close()
            raise DamagedLog(f"{path} is damaged")
        turn, promise = max(found.values(), key=lambda slot: slot[0])
        mark = cls(file, turn, promise)
        mark._fixed = max(fixed, key=lambda at: found[at][0]) ^ 1
        return mark

    def write(self, promise: Promise) -> None:
        """Put it where it may be lost by a power cut."""
        self._put(promise, _LOOSE)

    def fix(self, promise: Promise) -> None:
        """Make it durable."""
        self._put(promise, self._fixed)
        self._file.sync()
        self._fixed ^= 1

    def _put(self, promise: Promise, slot: int) -> None:
        self._turn += 1
        self.promise = promise
        data = _SLOT.pack(_MAGIC, self._turn, promise.first, promise.newest, promise.end)
        self._file.pwrite([data + _CRC.pack(crc32c(data))], slot * BLOCK_BYTES)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _read(file: File, at: int) -> tuple[int, Promise] | None:
    try:
        data = file.pread(_SLOT.size + _CRC.size, at)
    except OSError:
        return None
    if len(data) < _SLOT.size + _CRC.size:
        return None
    if _CRC.unpack_from(data, _SLOT.size)[0] != crc32c(data[: _SLOT.size]):
        return None
    magic, turn, first, newest, end = _SLOT.unpack_from(data)
    return (turn, Promise(first, newest, end)) if magic == _MAGIC else None
