"""Files of a shard that are the same bytes on every replica, and what a peer sends of them.

Sealed index ranges and snapshots are made by apply alone, so a damaged one is replaced by any
peer's (rulings 3, 20, 27). A fetched file grows under another name; it takes the place of the
damaged one when all of it was checked, by whoever knows what it must be.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

import msgspec

from raftlog.base.errors import NoRoom
from raftlog.base.ids import Index
from raftlog.storage.files import Files
from raftlog.storage.room import may_lack_room

_UNFINISHED: Final = ".fetched"
Verify = Callable[[bytes], bool]
"""Whether these are the bytes that are missing. Called on the reader thread."""


class FileKind(IntEnum):
    """What a file is. A number is never used again for something else."""

    RANGE = 1
    SNAPSHOT = 2


_PLACES: Final = {
    FileKind.RANGE: ("index", ".qx"),
    FileKind.SNAPSHOT: ("snapshot", ".tables"),
}


class FileName(msgspec.Struct, frozen=True, gc=False):
    """A file that all replicas have alike, or will have."""

    kind: FileKind
    index: Index

    def path(self, shard: str) -> str:
        """Return where it lies in a shard's folder."""
        folder, suffix = _PLACES[self.kind]
        return f"{shard}/{folder}/{self.index:020d}{suffix}"


def read_chunk(files: Files, path: str, offset: int, length: int) -> tuple[int, bytes]:
    """Return a file's size and some bytes of it; (0, b"") if it is not here. Blocks.

    Raises:
        OSError: It cannot be read.
    """
    if not files.exists(path):
        return 0, b""
    file = files.open(path)
    try:
        size = file.size()
        return size, file.pread(max(0, min(length, size - offset)), offset)
    finally:
        file.close()


def write_chunk(files: Files, path: str, offset: int, data: bytes) -> None:
    """Write some bytes of a fetched file; at offset 0 it begins anew. Blocks.

    Raises:
        NoRoom: There is no space; what was fetched is dropped.
        StorageFailed: They could not be; the node must stop.
    """
    try:
        with may_lack_room():
            files.make_directory(path.rpartition("/")[0])
            file = files.open(path + _UNFINISHED, create=True)
            try:
                if not offset:
                    file.truncate(0)
                file.pwrite([data], offset)
            finally:
                file.close()
    except NoRoom:
        if files.exists(path + _UNFINISHED):
            files.remove(path + _UNFINISHED)
        raise


def finish_file(files: Files, path: str, verify: Verify) -> bool:
    """Give a fetched file its name if it is what was wanted, durably. Blocks.

    Raises:
        StorageFailed: It could not be; the node must stop.
    """
    file = files.open(path + _UNFINISHED)
    try:
        try:
            good = verify(file.pread(file.size(), 0))
        except OSError:
            good = False
        if good:
            file.sync()
    finally:
        file.close()
    if good:
        files.rename(path + _UNFINISHED, path)
    else:
        files.remove(path + _UNFINISHED)
    files.sync_directory(path.rpartition("/")[0])
    return good
