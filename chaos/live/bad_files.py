"""The node's own files on a disk that may fail, be slow, and lose its power (ruling 28).

Everything that a node does with files goes through here, and from here to the real ones.
"""

import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from random import Random
from threading import Lock
from typing import Final

import msgspec

from chaos.live.journal import Journal
from raftlog.base.entry import Buffer
from raftlog.base.errors import StorageFailed
from raftlog.base.space import Space
from raftlog.storage.files import OsFile, OsFiles

OPERATIONS: Final = ("read", "write", "sync", "grow")


class Trouble(msgspec.Struct):
    """Something that is wrong with a disk.

    Attributes:
        operation: Of which kind: read, write, sync, or grow: whatever needs space that was not
            allocated before, as making a file, a directory, or one longer.
        error: The name of an error ("EIO"); "": it is only slow.
        delay_s: How much longer each takes.
        times: How many operations it concerns; 0: all.
        path: Only files with this in their path.
        share: How many of those.
    """

    operation: str
    error: str = ""
    delay_s: float = 0.0
    times: int = 0
    path: str = ""
    share: float = 1.0

    @property
    def name(self) -> str:
        """What it is counted as when it is met."""
        return f"{self.operation} {self.error or 'slow'}"


class Disk:
    """What is wrong with a node's disk now, and how often that was met."""

    def __init__(self) -> None:
        self.journal: Final = Journal()
        self.hits: Counter[str] = Counter()
        self.hit_files: Counter[str] = Counter()
        """By the ends of their names: how often an error was met there."""
        self._random = Random(0)
        self._troubles: list[Trouble] = []
        self._lock = Lock()

    def set(self, troubles: Sequence[Trouble]) -> None:
        """From now on this is wrong, and nothing else."""
        with self._lock:
            self._troubles = list(troubles)

    def cut_power(self, kind: str, seed: int) -> dict[str, int]:
        """Lose what was not synced."""
        return self.journal.cut_power(kind, seed)

    def has(self, operation: str, path: str = "") -> bool:
        """Whether something may be wrong with ``operation``; with ``path``, of that file."""
        if not self._troubles:
            return False
        with self._lock:
            return any(
                each.operation == operation and (not path or each.path in path)
                for each in self._troubles
            )

    def measured(self, space: Space) -> Space:
        """Return what is told of the space of the file system."""
        return Space(space.total, 0) if self.has("grow") else space

    def meet(self, operation: str, path: str) -> None:
        """Suffer what is wrong with ``operation`` on ``path``. Raises OSError."""
        if not self._troubles:
            return
        delay_s, error = self._find(operation, path)
        if delay_s:
            time.sleep(delay_s)
        if error:
            raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)), path)

    def _find(self, operation: str, path: str) -> tuple[float, str]:
        delay_s, error = 0.0, ""
        with self._lock:
            for trouble in list(self._troubles):
                if trouble.operation != operation or trouble.path not in path:
                    continue
                if trouble.share < 1 and self._random.random() >= trouble.share:
                    continue
                self.hits[trouble.name] += 1
                if trouble.error:
                    self.hit_files[PurePath(path).suffix or PurePath(path).name] += 1
                delay_s += trouble.delay_s
                error = error or trouble.error
                if trouble.times:
                    trouble.times -= 1
                    if not trouble.times:
                        self._troubles.remove(trouble)
        return delay_s, error


class BadFile(OsFile):
    """A file on such a disk. While its reads may fail, the cache has nothing of it."""

    def __init__(self, descriptor: int, path: str, disk: Disk) -> None:
        super().__init__(descriptor, path)
        self._disk = disk

    def pread(self, length: int, offset: int) -> bytes:
        """Read, or fail."""
        self._disk.meet("read", self.path)
        return super().pread(length, offset)

    def pread_now(self, length: int, offset: int) -> bytes | None:
        """Read what the cache has."""
        if self._disk.has("read", self.path):
            return None
        return super().pread_now(length, offset)

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write, or fail."""

        def write() -> None:
            self._disk.meet("write", self.path)
            self._grow(offset + sum(map(len, buffers)))
            self._disk.journal.write(self._descriptor, buffers, offset)

        self._try("write", offset, write)

    def sync(self) -> None:
        """Sync, or fail; what was not synced then never will be known to be."""

        def sync() -> None:
            self._disk.meet("sync", self.path)
            self._disk.journal.sync(self._descriptor, os.fdatasync)

        self._try("fdatasync", None, sync)

    def truncate(self, size: int) -> None:
        """Cut, or fail."""

        def truncate() -> None:
            self._disk.meet("write", self.path)
            cut = lambda: os.ftruncate(self._descriptor, size)  # noqa: E731
            self._disk.journal.resize(self._descriptor, size, cut)

        self._try("ftruncate", size, truncate)

    def allocate(self, size: int) -> None:
        """Reserve, or fail."""

        def allocate() -> None:
            self._disk.meet("write", self.path)
            self._grow(size)
            reserve = lambda: os.posix_fallocate(self._descriptor, 0, size)  # noqa: E731
            grown = max(size, os.fstat(self._descriptor).st_size)
            self._disk.journal.resize(self._descriptor, grown, reserve)

        self._try("fallocate", size, allocate)

    def _grow(self, size: int) -> None:
        if self._disk.has("grow") and size > self.size():
            self._disk.meet("grow", self.path)

    def _try(self, what: str, where: int | None, do: Callable[[], None]) -> None:
        try:
            do()
        except OSError as error:
            raise StorageFailed(what, self.path, where, error) from error


class BadFiles(OsFiles):
    """A file system on such a disk. Names that were taken away are kept aside until synced."""

    def __init__(self, disk: Disk, aside: Path) -> None:
        self._disk = disk
        self._aside = aside
        self._kept = 0
        empty(aside)

    def open(self, path: str, *, create: bool = False) -> OsFile:
        """Open; a name that is made is not durable yet."""
        opened: list[OsFile] = []
        if not create or os.path.lexists(path):
            opened.append(super().open(path, create=create))
        else:

            def make() -> tuple[Callable[[], None], Callable[[], None]]:
                self._meet("grow", "open", path)
                opened.append(OsFiles.open(self, path, create=True))
                return lambda: Path(path).unlink(missing_ok=True), _nothing

            self._disk.journal.rename(_above(path), make)
        return BadFile(opened[0]._descriptor, path, self._disk)

    def make_directory(self, path: str) -> None:
        """Make it and its parents, or fail."""
        if not Path(path).is_dir():
            self._meet("grow", "mkdir", path)
        super().make_directory(path)

    def sync_directory(self, path: str) -> None:
        """Sync, or fail."""

        def sync(directory: str) -> None:
            self._meet("sync", "fsync", path)
            OsFiles.sync_directory(self, directory)

        self._disk.journal.sync_names(path.rstrip("/"), sync)

    def rename(self, old: str, new: str) -> None:
        """Rename; the name that is replaced is kept aside."""

        def do() -> tuple[Callable[[], None], Callable[[], None]]:
            kept = self._keep(new)
            OsFiles.rename(self, old, new)

            def back() -> None:
                with suppress(FileNotFoundError):
                    Path(new).replace(old)
                _restore(kept, new)

            return back, lambda: _forget(kept)

        self._disk.journal.rename(_above(new), do)

    def remove(self, path: str, *, gently: bool = False) -> None:
        """Take a name away, and keep it aside."""

        def do() -> tuple[Callable[[], None], Callable[[], None]]:
            kept = self._keep(path)
            OsFiles.remove(self, path, gently=gently)
            return lambda: _restore(kept, path), lambda: _forget(kept)

        self._disk.journal.rename(_above(path), do)

    def _meet(self, operation: str, call: str, path: str) -> None:
        try:
            self._disk.meet(operation, path)
        except OSError as error:
            raise StorageFailed(call, path, None, error) from error

    def _keep(self, path: str) -> Path | None:
        if not os.path.lexists(path):
            return None
        self._kept += 1
        kept = self._aside / str(self._kept)
        kept.hardlink_to(path)
        return kept


def empty(directory: Path) -> None:
    """Make a directory, or take away what is in it."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()


def _above(path: str) -> str:
    return str(Path(path).parent)


def _restore(kept: Path | None, path: str) -> None:
    if kept is not None:
        kept.replace(path)


def _forget(kept: Path | None) -> None:
    if kept is not None:
        kept.unlink(missing_ok=True)


def _nothing() -> None:
    """Nothing was kept aside."""
