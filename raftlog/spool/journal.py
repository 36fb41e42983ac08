"""The spool's files: notes are appended, synced, read again, and dropped from the oldest on.

::

    <directory>/lock                        held while the spool is open
                identity                    format, producer, epoch: replaced as a whole
                mark                        what the others must hold at least
                reserve                     room for notes, given up when the disk is full
                00000000000000000001.spool  frames; the name is the number of the first one

What a crash can leave and this repairs: an end that was never promised, in the newest
file only, and old files whose removal was decided. Everything else is damage, is told with
the file and the place, and is not touched.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Self

import msgspec
from crc32c import crc32c

from raftlog.base.entry import Buffer
from raftlog.base.errors import (
    DamagedLog,
    DirectoryForeign,
    IncompatibleFormat,
    NoRoom,
    StorageFailed,
)
from raftlog.spool.frames import (
    FRAME_HEADER_BYTES,
    encode_frames,
    frame_at,
    frames_of,
    proves_damage,
)
from raftlog.spool.mark import NAME as MARK
from raftlog.spool.mark import Mark, Promise
from raftlog.storage.files import File, Files
from raftlog.storage.replacing import replace_file
from raftlog.storage.room import RESERVE, Reserve, lacks_room, may_lack_room

FORMAT: Final = 1
LOCK: Final = "lock"
IDENTITY: Final = "identity"
RESERVE_BYTES: Final = 256 << 10
"""Notes that say what became of thousands of batches: what is sent makes room."""
_SEGMENT: Final = re.compile(r"(\d{20})\.spool")
_OURS: Final = re.compile(
    rf"{LOCK}|{MARK}|{RESERVE}(\.new)?|{IDENTITY}(\.new)?|{_SEGMENT.pattern}"
)


class Place(NamedTuple):
    """Where a note lies: the number of its file's first one, its own, and the bytes there."""

    segment: int
    number: int
    offset: int
    size: int


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """Who the spool is to the cluster. ``producer`` is 0 until one was drawn."""

    format: int
    producer: int
    epoch: int


class Journal:
    """The files of one spool. Every method blocks; one thread at a time.

    Attributes:
        identity: As it is on disk.
        bytes: Of all files with notes.
    """

    def __init__(self, files: Files, directory: str, segment_bytes: int, lock: File) -> None:
        self.identity = Identity(FORMAT, 0, 0)
        self.bytes = 0
        self._files = files
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._lock = lock
        self._mark: Mark
        self._segments: dict[int, tuple[File, int]] = {}
        """Open files and their sizes, by the number of the first note, oldest first."""
        self._next = 1
        """The number of the next note."""
        self._failed: StorageFailed | None = None
        self._reserve = Reserve(files, directory, RESERVE_BYTES)

    @classmethod
    def open(cls, files: Files, directory: str, segment_bytes: int) -> Self:
        """Lock the directory, make what is missing, and cut a torn end.

        Raises:
            DirectoryLocked: Another spool has it open.
            DirectoryForeign: Something else is in it.
            IncompatibleFormat: A later version has written it.
            DamagedLog: Bytes that were promised are not there; nothing was changed.
            NoRoom: The disk is full, and the directory is new.
            StorageFailed: The disk refuses.
        """
        with may_lack_room():
            files.make_directory(directory)
            lock = files.lock(f"{directory}/{LOCK}")
        journal = cls(files, directory, segment_bytes, lock)
        try:
            with may_lack_room():
                journal._begin()
        except BaseException:
            journal._release()
            raise
        return journal

    @property
    def first(self) -> int:
        """The number of the first note."""
        return next(iter(self._segments), self._next)

    def notes(self) -> Iterator[tuple[Place, bytes]]:
        """Yield everything that is there, in order."""
        for segment, (file, size) in self._segments.items():
            for frame in frames_of(self._read(file, size), segment):
                yield (
                    _place(segment, frame.number, frame.offset, len(frame.payload)),
                    frame.payload,
                )

    def append(self, payloads: Sequence[Buffer], *, uses_reserve: bool = False) -> list[Place]:
        """Write notes, and sync: they are on disk when this returns.

        Args:
            payloads: The notes.
            uses_reserve: They make room in the end, so they may have what is kept for that.

        Raises:
            NoRoom: The disk is full; nothing was changed.
            StorageFailed: They may be there or not; this spool writes nothing more.
        """
        if self._failed is not None:
            raise self._failed
        try:
            try:
                return self._append(payloads)
            except NoRoom:
                if not (uses_reserve and self._reserve.release()):
                    raise
                return self._append(payloads)
        except NoRoom:
            raise
        except StorageFailed as error:
            self._failed = error  # a failed fsync is never retried
            raise

    def read(self, place: Place) -> bytes:
        """Return a note again.

        Raises:
            DamagedLog: It was good once.
        """
        file, _ = self._segments[place.segment]
        try:
            data = file.pread(place.size, place.offset)
        except OSError as error:
            raise DamagedLog(f"{file.path} can't be read at {place.offset}: {error}") from error
        frame = frame_at(data, 0)
        if frame is None or frame.number != place.number:
            raise DamagedLog(f"{file.path} is damaged at {place.offset}")
        return frame.payload

    def drop_before(self, segment: int) -> None:
        """Remove the files before the one of note ``segment``; the newest one stays.

        Raises:
            NoRoom: The disk is full, even for that; some may be there still.
            StorageFailed: The disk refuses.
        """
        with may_lack_room():
            self._drop_before(segment)

    def _drop_before(self, segment: int) -> None:
        newest = next(reversed(self._segments), 0)
        gone = [first for first in self._segments if first < min(segment, newest)]
        if not gone:
            return
        kept = min(first for first in self._segments if first not in gone)
        end = self._segments[newest][1]
        self._mark.fix(
            Promise(kept, newest, end)
        )  # or a file that is missing could not be told from one that was removed
        for first in gone:
            file, size = self._segments[first]
            file.close()  # before: its room must be there for the reserve
            self._files.remove(file.path)
            del self._segments[first]
            self.bytes -= size
        self._files.sync_directory(self._directory)
        self._reserve.keep()

    def rename_to(self, identity: Identity) -> None:
        """Be this to the cluster from now on, durably.

        Raises:
            NoRoom: The disk is full; it is as before.
            StorageFailed: The disk refuses.
        """
        data = msgspec.msgpack.encode(identity)
        parts = [crc32c(data).to_bytes(4, "little"), data]
        try:
            self._replace_identity(parts)
        except NoRoom:
            if not self._reserve.release():
                raise
            self._replace_identity(parts)
        self.identity = identity

    def _replace_identity(self, parts: Sequence[Buffer]) -> None:
        with may_lack_room():  # all of it is done anew
            replace_file(self._files, self._directory, IDENTITY, parts)

    def close(self) -> None:
        """Sync the mark and let go of the directory.

        Raises:
            NoRoom: The disk is full; the mark is an older one then, as after a power cut.
            StorageFailed: The disk refuses.
        """
        try:
            if self._failed is None:
                with may_lack_room():
                    self._mark.fix(self._mark.promise)
        finally:
            self._release()

    # -- opening

    def _begin(self) -> None:
        names = self._files.list(self._directory)
        foreign = [name for name in names if _OURS.fullmatch(name) is None]
        if foreign:
            raise DirectoryForeign(
                f"{self._directory} has {foreign[0]!r} in it; a spool has a directory of its own"
            )
        segments = sorted(int(found[1]) for name in names if (found := _SEGMENT.fullmatch(name)))
        if IDENTITY not in names:
            if segments:
                raise DamagedLog(f"{self._directory} has records in it and no file {IDENTITY!r}")
            self._mark = Mark.create(self._files, self._path(MARK), Promise(0, 0, 0))
            self._files.sync_directory(self._directory)
            self.rename_to(self.identity)  # a spool from here on
            self._reserve.keep()
            return
        self._read_identity()
        if MARK not in names:
            raise DamagedLog(f"{self._directory} has no file {MARK!r}")
        self._mark = Mark.open(self._files, self._path(MARK))
        self._recover(segments)

    def _read_identity(self) -> None:
        file = self._files.open(self._path(IDENTITY))
        try:
            data = file.pread(file.size(), 0)
            if crc32c(data[4:]) != int.from_bytes(data[:4], "little"):
                raise DamagedLog(f"{file.path} is damaged")
            self.identity = msgspec.msgpack.decode(data[4:], type=Identity)
        except (OSError, msgspec.MsgspecError) as error:
            raise DamagedLog(f"{file.path} is damaged: {error}") from error
        finally:
            file.close()
        if self.identity.format != FORMAT:
            raise IncompatibleFormat(
                f"{self._directory} has format {self.identity.format}; this is for {FORMAT}"
            )

    def _recover(self, segments: list[int]) -> None:
        promise = self._mark.promise
        gone = [first for first in segments if first < promise.first]
        kept = [first for first in segments if first >= promise.first]
        if promise.newest and (promise.first not in kept or promise.newest not in kept):
            raise DamagedLog(f"{self._path(_name(promise.newest))} or an older file is missing")
        if kept and not promise.newest:  # nothing was ever removed
            if kept[0] != 1:
                raise DamagedLog(f"{self._path(_name(1))} is missing")
            promise = Promise(1, 1, 0)
        for first in kept:
            self._recover_one(first, promise, is_newest=first == kept[-1])
        # What was read, names too, may have been in memory only: it is promised from now on.
        self._files.sync_directory(self._directory)
        if kept:
            newest, (_, size) = next(reversed(self._segments.items()))
            promise = Promise(kept[0], newest, size)
        self._mark.fix(promise)
        for first in gone:  # a removal that was decided, and cut off
            self._files.remove(self._path(_name(first)))
        self._files.sync_directory(self._directory)
        self._reserve.keep()

    def _recover_one(self, first: int, promise: Promise, *, is_newest: bool) -> None:
        if self._segments and first != self._next:
            raise DamagedLog(f"{self._path(_name(self._next))} is missing")
        self._next = first
        file = self._files.open(self._path(_name(first)))
        self._segments[first] = file, 0
        size = file.size()
        data = self._read(file, size)
        end = 0
        for frame in frames_of(data, first):
            end, self._next = frame.end, frame.number + 1
        promised = promise.end if first == promise.newest else 0
        if end < promised or (end < size and (not is_newest or proves_damage(data, end))):
            raise DamagedLog(f"{file.path} is damaged at {end}; records behind it would be lost")
        if end < size:
            file.truncate(end)
        if is_newest and end > promised:  # it may be in the page cache only: write it again
            file.pwrite([data[promised:end]], promised)
        if is_newest:
            file.sync()
        self._segments[first] = file, end
        self.bytes += end

    # -- inside

    def _append(self, payloads: Sequence[Buffer]) -> list[Place]:
        newest = next(reversed(self._segments), 0)
        if not newest or self._segments[newest][1] >= self._segment_bytes:
            newest = self._next
            with may_lack_room():
                file = self._files.open(self._path(_name(newest)), create=True)
                self._files.sync_directory(self._directory)
            self._segments[newest] = file, 0
        file, offset = self._segments[newest]
        pieces = encode_frames(payloads, self._next, offset)
        try:
            file.pwrite(pieces, offset)
        except StorageFailed as error:
            if not lacks_room(error):
                raise
            file.truncate(offset)  # a part of it may be there, and was refused: it must not
            file.sync()  # come back after a power cut
            raise NoRoom(error.operation, error.path, error.offset, error.error) from error
        file.sync()
        places = []
        for payload in payloads:
            place = _place(newest, self._next, offset, len(payload))
            places.append(place)
            offset += place.size
            self.bytes += place.size
            self._next += 1
        self._segments[newest] = file, offset
        with suppress(NoRoom), may_lack_room():  # it is older then, as after a power cut
            self._mark.write(Promise(next(iter(self._segments)), newest, offset))
        return places

    def _read(self, file: File, size: int) -> bytes:
        try:
            return file.pread(size, 0)
        except OSError as error:
            raise DamagedLog(f"{file.path} can't be read: {error}") from error

    def _release(self) -> None:
        for file, _ in self._segments.values():
            file.close()
        if hasattr(self, "_mark"):
            self._mark.close()
        self._lock.close()

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}"


def _name(first: int) -> str:
    return f"{first:020d}.spool"


def _place(segment: int, number: int, offset: int, length: int) -> Place:
    return Place(segment, number, offset, FRAME_HEADER_BYTES + length)
