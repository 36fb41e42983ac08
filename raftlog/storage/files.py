"""The one way to touch files, so that a simulated disk can stand in for it.

Errors of operations that change something are ``StorageFailed`` and final: the
node stops, and nothing is retried (R2; after a failed fsync the page cache may
hold pages that are clean and not on disk). A failed read is an ``OSError``: it
makes the entry faulty, and a peer has another copy.

Returning from ``pwrite`` means that the kernel has the bytes; only ``sync`` and
``sync_directory`` mean that the disk has them.
"""

import errno
import fcntl
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Final, Protocol

from raftlog.base.entry import Buffer
from raftlog.base.errors import DirectoryLocked, StorageFailed
from raftlog.storage.freeing import FREEING

_BUFFERS_MAX: Final = 1024
_NOWAIT: Final = getattr(os, "RWF_NOWAIT", 0)


class File(Protocol):
    """An open file. Any thread may read; one writes at a time."""

    path: str

    def pread(self, length: int, offset: int) -> bytes:
        """Return up to ``length`` bytes, fewer only at the end. Raises OSError."""

    def pread_now(self, length: int, offset: int) -> bytes | None:
        """Return the bytes if no disk has to be waited for, else None. Raises OSError."""

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write all of ``buffers`` one after the other from ``offset`` on."""

    def write_back(self, length: int, offset: int) -> None:
        """Let the disk begin to write these bytes. Nobody waits, and nothing is promised."""

    def sync(self) -> None:
        """Make the file's bytes and size durable (fdatasync)."""

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""

    def allocate(self, size: int) -> None:
        """Reserve blocks so that the file is at least ``size`` bytes long, zeros at the end."""

    def size(self) -> int:
        """Return the length in bytes."""

    def close(self) -> None:
        """Close the handle, releasing a lock it holds. Idempotent."""


class Files(Protocol):
    """A file system."""

    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing; ``create`` makes a missing file."""

    def lock(self, path: str) -> File:
        """Open ``path`` and hold it exclusively, or raise ``DirectoryLocked``."""

    def exists(self, path: str) -> bool:
        """Whether a file or directory has this name. Raises StorageFailed."""

    def list(self, path: str) -> list[str]:
        """Return the names in a directory, sorted; empty if it does not exist."""

    def make_directory(self, path: str) -> None:
        """Make a directory and its parents, durably; harmless if it exists."""

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""

    def rename(self, old: str, new: str) -> None:
        """Give ``old`` the name ``new``, replacing what had it."""

    def remove(self, path: str, *, gently: bool = False) -> None:
        """Take a name away; open handles stay good.

        With ``gently`` the room of a large file is there a second later, which spares everybody's
        syncs (``freeing``): for what is removed while others work, and not for want of room.
        """


class OsFile:
    """A file of the operating system."""

    def __init__(self, descriptor: int, path: str) -> None:
        self.path = path
        self._descriptor = descriptor

    def pread(self, length: int, offset: int) -> bytes:
        """Read, going on after short reads."""
        data = os.pread(self._descriptor, length, offset)
        if len(data) == length or not data:
            return data
        parts = [data]
        while (missing := length - sum(map(len, parts))) and data:
            data = os.pread(self._descriptor, missing, offset + length - missing)
            parts.append(data)
        return b"".join(parts)

    def pread_now(self, length: int, offset: int) -> bytes | None:
        """Read only what the page cache has (ruling 17)."""
        buffer = bytearray(length)
        try:
            got = os.preadv(self._descriptor, [buffer], offset, _NOWAIT)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL):
                return None
            raise
        return bytes(buffer) if got == length else None

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write with as few system calls as the kernel allows."""
        try:
            for first in range(0, len(buffers), _BUFFERS_MAX):
                some = buffers[first : first + _BUFFERS_MAX]
                total = sum(map(len, some))
                done = os.pwritev(self._descriptor, some, offset)
                if done != total:
                    self._finish(b"".join(some), done, offset)
                offset += total
        except OSError as error:
            raise StorageFailed("write", self.path, offset, error) from error

    def _finish(self, data: bytes, done: int, offset: int) -> None:
        view = memoryview(data)
        while done < len(data):
            done += os.pwrite(self._descriptor, view[done:], offset + done)

    def write_back(self, length: int, offset: int) -> None:
        """Call posix_fadvise: of bytes that are dirty Linux begins the writing, and drops none."""
        with suppress(OSError):
            os.posix_fadvise(self._descriptor, offset, length, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        """Call fdatasync."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise StorageFailed("fdatasync", self.path, None, error) from error

    def truncate(self, size: int) -> None:
        """Call ftruncate."""
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            raise StorageFailed("ftruncate", self.path, size, error) from error

    def allocate(self, size: int) -> None:
        """Call posix_fallocate."""
        try:
            os.posix_fallocate(self._descriptor, 0, size)
        except OSError as error:
            raise StorageFailed("fallocate", self.path, size, error) from error

    def size(self) -> int:
        """Ask the file system."""
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Close once; a large file that was removed is freed little by little."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            FREEING.close(descriptor, self.path)


class OsFiles:
    """The operating system's file system."""

    def open(self, path: str, *, create: bool = False) -> OsFile:
        """Open for reading and writing."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            return OsFile(os.open(path, flags, 0o644), path)
        except OSError as error:
            raise StorageFailed("open", path, None, error) from error

    def lock(self, path: str) -> OsFile:
        """Hold ``path`` with flock: the kernel releases it when the process ends."""
        file = self.open(path, create=True)
        try:
            fcntl.flock(file._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageFailed("flock", path, None, error) from error
            raise DirectoryLocked(
                f"another process has {os.path.dirname(path)} open; stop it first"  # noqa: PTH120
            ) from error
        return file

    def exists(self, path: str) -> bool:
        """Ask the file system; that it can't say is no answer."""
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise StorageFailed("stat", path, None, error) from error
        return True

    def list(self, path: str) -> list[str]:
        """Return the sorted names."""
        try:
            return sorted(os.listdir(path))  # noqa: PTH208  (names, not paths)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageFailed("list", path, None, error) from error

    def make_directory(self, path: str) -> None:
        """Make it and its parents; each new name is synced in the directory above it."""
        if os.path.isdir(path):  # noqa: PTH112  (paths are strings here)
            return
        above = os.path.dirname(path.rstrip("/")) or "."  # noqa: PTH120
        self.make_directory(above)
        try:
            os.mkdir(path)  # noqa: PTH102
        except OSError as error:
            raise StorageFailed("mkdir", path, None, error) from error
        self.sync_directory(above)

    def sync_directory(self, path: str) -> None:
        """Open the directory and fsync it."""
        failed = FREEING.failed.get(path.rstrip("/"))
        if failed is not None:
            raise StorageFailed("fsync", path, None, failed)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StorageFailed("fsync", path, None, error) from error

    def rename(self, old: str, new: str) -> None:
        """Call rename."""
        try:
            os.replace(old, new)  # noqa: PTH105
        except OSError as error:
            raise StorageFailed("rename", old, None, error) from error

    def remove(self, path: str, *, gently: bool = False) -> None:
        """Call unlink; ``gently``, with the file open, so that it is freed when that is closed."""
        with ExitStack() as stack:
            if gently:
                with suppress(StorageFailed):  # what can't be opened may be removed
                    stack.callback(self.open(path).close)
            try:
                os.unlink(path)  # noqa: PTH108
            except OSError as error:
                raise StorageFailed("unlink", path, None, error) from error
