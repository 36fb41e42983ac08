"""A spool's directory looked at, and never changed: ``raftlog spool show|verify``.

Opening a spool repairs it, and locks it. So its files are copied into memory and opened there,
by the code that opens them on a disk: what that says of them is what the next opening will
say. The spool may be open meanwhile, in another process::

    copy the mark, which says what the files must hold at least
                                        it appends, removes files, begins new ones
    copy the files                      so they hold what the mark says, and perhaps more

Only a file that was removed in between can look like damage. Then the mark is another one by
now, and all of it is copied again.
"""

import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import DamagedLog, DirectoryForeign, StorageFailed
from raftlog.spool.contents import Contents
from raftlog.spool.journal import IDENTITY, LOCK, Journal
from raftlog.spool.mark import NAME as MARK
from raftlog.storage.files import File
from raftlog.storage.room import RESERVE

COPIES_MAX: Final = 20
"""So often is it copied anew if somebody writes meanwhile."""
PAUSE_S: Final = 0.02
_ANY_SIZE: Final = 1 << 30


class TopicReport(msgspec.Struct, frozen=True):
    """What a spool holds of one topic.

    Attributes:
        topic: Its name.
        records: That the cluster has not acknowledged, as far as the spool knows.
        under_way: Those of them that were sent, perhaps: the cluster may have them.
        bytes: What they take.
        oldest_ms: When the oldest of them was sent, in milliseconds since 1970.
    """

    topic: str
    records: int
    under_way: int
    bytes: int
    oldest_ms: int


class SpoolReport(msgspec.Struct, frozen=True):
    """What a spool's directory holds.

    Attributes:
        directory: Where it is.
        records: That the cluster has not acknowledged, as far as the spool knows.
        bytes: Of the files that hold notes; records that are gone take some of them for a while.
        files: How many these are.
        oldest_ms: When the oldest record was sent, in milliseconds since 1970; None: there is
            none.
        topics: One after the other, by name.
        unfinished: Bytes at the end that were never promised: the next opening cuts them, or
            somebody is writing them now.
        damage: Something that was promised can't be read; "" if all of it can. Then nothing is
            known of records and topics.
    """

    directory: str
    records: int
    bytes: int
    files: int
    oldest_ms: int | None
    topics: tuple[TopicReport, ...]
    unfinished: int
    damage: str


def inspect_spool(directory: str | Path) -> SpoolReport:
    """Read all of a spool's directory and say what is in it; nothing is changed.

    Raises:
        DirectoryForeign: It is no spool's.
        IncompatibleFormat: A later version has written it.
        StorageFailed: It can't be read.
    """
    path = str(Path(directory))
    damaged = None
    for _ in range(COPIES_MAX):
        mark = _mark_of(path)
        try:
            copy = _Copy(path, mark)
        except FileNotFoundError:  # removed between two looks
            time.sleep(PAUSE_S)
            continue
        try:
            return _report(copy, path)
        except DamagedLog as error:
            damaged = SpoolReport(path, 0, copy.size, copy.count, None, (), 0, str(error))
        if mark == _mark_of(path):
            break
        time.sleep(PAUSE_S)
    if damaged is None:
        raise StorageFailed("read", path, None, OSError("files are removed faster than read"))
    return damaged


def _report(copy: "_Copy", path: str) -> SpoolReport:
    size = copy.size
    journal = Journal.open(copy, path, _ANY_SIZE)
    contents = Contents()
    contents.load(journal.first, journal.notes())
    sent = {number for each in contents.attempts.values() for number in each.numbers}
    topics = []
    for topic in sorted({*contents.waiting, *(each.topic for each in contents.attempts.values())}):
        held = contents.of_topic(topic)
        if held:
            topics.append(
                TopicReport(
                    topic,
                    len(held),
                    sum(each.at.number in sent for each in held),
                    sum(each.at.size for each in held),
                    min(each.made_ms for each in held),
                )
            )
    return SpoolReport(
        path,
        contents.count,
        journal.bytes,
        copy.count,
        min((each.oldest_ms for each in topics), default=None),
        tuple(topics),
        size - copy.removed - journal.bytes,
        "",
    )


def _mark_of(path: str) -> bytes:
    """Return the bytes of the mark; b"" if there is none."""
    try:
        return Path(path, MARK).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise StorageFailed("read", path, None, error) from error


def _read(path: str, name: str) -> bytearray:
    """Return the bytes of a file; of those that say nothing, none."""
    try:
        if name in (LOCK, RESERVE, MARK) or not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
            return bytearray()
        return bytearray(Path(path).read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageFailed("read", path, None, error) from error


def _is_segment(path: str) -> bool:
    return path.endswith(".spool")


class _CopiedFile:
    """A file in memory."""

    def __init__(self, path: str, data: bytearray) -> None:
        self.path = path
        self._data = data

    def pread(self, length: int, offset: int) -> bytes:
        """Return up to ``length`` bytes."""
        return bytes(self._data[offset : offset + length])

    def pread_now(self, length: int, offset: int) -> bytes | None:
        """Return them: nothing is waited for."""
        return self.pread(length, offset)

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write into memory."""
        data = b"".join(bytes(each) for each in buffers)
        self.allocate(offset)
        self._data[offset : offset + len(data)] = data

    def write_back(self, length: int, offset: int) -> None:
        """Do nothing."""

    def sync(self) -> None:
        """Do nothing."""

    def truncate(self, size: int) -> None:
        """Cut it, or make it longer."""
        del self._data[size:]
        self.allocate(size)

    def allocate(self, size: int) -> None:
        """Make it at least so long."""
        self._data.extend(bytes(max(0, size - len(self._data))))

    def size(self) -> int:
        """Return its length."""
        return len(self._data)

    def close(self) -> None:
        """Do nothing."""


class _Copy:
    """A spool's directory in memory: what is done to it stays there.

    Attributes:
        size: Of the files that hold notes.
        removed: How much of that was in files whose removal was decided.
    """

    def __init__(self, path: str, mark: bytes) -> None:
        """Copy it, with the mark as it was before.

        Raises:
            DirectoryForeign: It is no spool's.
            FileNotFoundError: A file was removed meanwhile.
            StorageFailed: It can't be read.
        """
        try:
            names = sorted(os.listdir(path))  # noqa: PTH208  (names, not paths)
        except (FileNotFoundError, NotADirectoryError):
            raise DirectoryForeign(f"{path} is no directory, and so no spool's") from None
        except OSError as error:
            raise StorageFailed("list", path, None, error) from error
        if IDENTITY not in names and MARK not in names:
            raise DirectoryForeign(f"{path} is no spool's: it has no file {IDENTITY!r}")
        self._files = {f"{path}/{name}": _read(f"{path}/{name}", name) for name in names}
        if MARK in names:
            self._files[f"{path}/{MARK}"] = bytearray(mark)
        self.size = sum(len(data) for name, data in self._files.items() if _is_segment(name))
        self.removed = 0

    @property
    def count(self) -> int:
        """How many files hold notes."""
        return sum(map(_is_segment, self._files))

    # -- as a spool's files

    def open(self, path: str, *, create: bool = False) -> File:
        """Open a file of the copy."""
        if path not in self._files:
            if not create:
                raise DamagedLog(f"{path} is missing")
            self._files[path] = bytearray()
        return _CopiedFile(path, self._files[path])

    def lock(self, path: str) -> File:
        """Lock nothing: whoever has it open goes on."""
        return _CopiedFile(path, bytearray())

    def exists(self, path: str) -> bool:
        """Whether the copy has it."""
        return path in self._files

    def list(self, path: str) -> list[str]:
        """Return the names."""
        return sorted(name.removeprefix(f"{path}/") for name in self._files)

    def make_directory(self, path: str) -> None:
        """It is there."""

    def sync_directory(self, path: str) -> None:
        """Do nothing."""

    def rename(self, old: str, new: str) -> None:
        """Rename a file of the copy."""
        self._files[new] = self._files.pop(old)

    def remove(self, path: str, *, gently: bool = False) -> None:  # noqa: ARG002  (nobody waits)
        """Remove a file of the copy."""
        data = self._files.pop(path)
        self.removed += len(data) if _is_segment(path) else 0
