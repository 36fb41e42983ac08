"""Files of table snapshots: ``snapshot/<index, 20 digits>.tables`` (ruling 18).

A snapshot is written piece by piece to a temporary name, synced, renamed, and
its directory synced; from then on it never changes. Two are kept: a
start that finds the newest torn or rotten goes on from the other. What is in
the bytes is the business of whoever made them.

Which two is no matter of numbers alone. Beside newer ones that a start has passed over, a
good one would go as soon as it was written, while the log is trimmed to it::

    on disk   10    30 rotten    40 rotten        a start takes 10
    finished  10 20 30           40               by number 10 and 20 go, the log behind 10, too
    kept      10 20                               what the machine was given, or has written since

One that a peer has sent is of the shard, but not yet of the log here, which may hold
something else at that index until it begins anew. So it has another name, and counts only
for who fetches it, until the log is known to have reached it::

    <index>.tables.peer.part  --whole-->  <index>.tables.peer  --use-->  <index>.tables
"""

from collections.abc import Sequence
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import DamagedLog, NoRoom
from raftlog.base.ids import Index
from raftlog.storage.files import File, Files
from raftlog.storage.room import may_lack_room

KEPT: Final = 2
_SUFFIX: Final = ".tables"
_UNFINISHED: Final = ".new"
_PEERS: Final = ".peer"
"""The end of the name of one that a peer has sent."""
FETCHED: Final = ".peer.part"
"""The end of its name until it is whole."""


class SnapshotStore:
    """The snapshots of one shard. Every method blocks; one thread at a time calls them.

    Args:
        files: The file system.
        directory: The folder ``snapshot`` of the shard; made when it is needed.
    """

    def __init__(self, files: Files, directory: str) -> None:
        self._files = files
        self._directory = directory
        self._unfinished: dict[str, SnapshotWriting] = {}
        """Of each kind of unfinished name the last one that was begun, until it is finished."""
        self._good: list[Index] = []
        """What the machine was given, or has written since, newest first; as many as are kept."""

    def indexes(self, *, fetched: bool = False) -> list[Index]:
        """Return what the finished snapshots are of, newest first.

        With ``fetched`` also those that peers have sent and the log here has not reached yet.
        """
        found = self._named(_SUFFIX)
        if fetched:
            found |= self._named(_SUFFIX + _PEERS)
        return sorted(found, reverse=True)

    def read(self, index: Index, *, fetched: bool = False) -> bytes:
        """Read a snapshot; with ``fetched`` the one that a peer has sent.

        Raises:
            DamagedLog: It is missing, or cannot be read.
        """
        path = self._path(index) + (_PEERS if fetched else "")
        if not self._files.exists(path):
            raise DamagedLog(f"{path} is missing")
        file = self._files.open(path)
        try:
            return file.pread(file.size(), 0)
        except OSError as error:
            raise DamagedLog(f"{path} cannot be read: {error}") from error
        finally:
            file.close()

    def open(self, index: Index) -> File | None:
        """Open a finished snapshot to be copied, or return None."""
        path = self._path(index)
        return self._files.open(path) if self._files.exists(path) else None

    def begin(self, index: Index, unfinished: str = _UNFINISHED) -> "SnapshotWriting":
        """Begin to write a snapshot; what was left unfinished is closed and removed.

        Raises:
            StorageFailed: It could not be; the node must stop.
        """
        files, directory = self._files, self._directory
        with may_lack_room():
            files.make_directory(directory)
        given_up = self._unfinished.pop(unfinished, None)
        if given_up is not None:
            given_up.close()
        for name in files.list(directory):
            if name.endswith(unfinished):
                files.remove(f"{directory}/{name}")
        path = self._path(index)
        with may_lack_room():
            file = files.open(path + unfinished, create=True)
        writing = self._unfinished[unfinished] = SnapshotWriting(
            self, file, index, path + unfinished
        )
        return writing

    def remove(self, index: Index) -> None:
        """Remove a snapshot that turned out bad."""
        self._files.remove(self._path(index))
        self._files.sync_directory(self._directory)

    def finished(self, index: Index, written: str) -> None:
        """A snapshot's bytes are durable: give it its name, and remove what is not kept."""
        files = self._files
        files.rename(written, self._path(index))
        files.sync_directory(self._directory)
        self._count(index)
        kept = self._kept()
        for other in self.indexes():
            if other not in kept:
                files.remove(self._path(other), gently=True)

    def fetched(self, index: Index, written: str) -> None:
        """The bytes of one that a peer has sent are durable: keep it, and no other such."""
        files = self._files
        files.rename(written, self._path(index) + _PEERS)
        files.sync_directory(self._directory)
        for other in self._named(_SUFFIX + _PEERS) - {index}:
            files.remove(self._path(other) + _PEERS)

    def use(self, index: Index, *, fetched: bool = False) -> None:
        """Count this one, which was found good: the machine is given it.

        With ``fetched`` it is the one that a peer has sent, and gets its name: the log here does
        not only have an entry of its index, that entry is known to be committed.

        Raises:
            StorageFailed: It could not be; the node must stop.
        """
        files = self._files
        if fetched:
            files.rename(self._path(index) + _PEERS, self._path(index))
            files.sync_directory(self._directory)
        self._count(index)
        for other in self._named(_SUFFIX + _PEERS):
            if other <= index:  # the log here has come this far by itself
                files.remove(self._path(other) + _PEERS)
        kept = self._kept()
        # Newer ones may only be unreadable today: they go when there is a second good one.
        for other in self.indexes():
            if other < index and other not in kept:
                files.remove(self._path(other))

    def give_up(self, end: Index) -> None:
        """Remove all of later entries than ``end``, from where on the log was given up."""
        removed = False
        for suffix in (_SUFFIX, _SUFFIX + _PEERS):
            for index in self._named(suffix):
                if index > end:
                    self._files.remove(f"{self._directory}/{index:020d}{suffix}")
                    removed = True
        if removed:
            self._files.sync_directory(self._directory)

    def forget(self, written: str) -> None:
        """Remove a snapshot that was not finished."""
        self._files.remove(written)

    def _count(self, index: Index) -> None:
        self._good = sorted({index, *self._good}, reverse=True)[:KEPT]

    def _kept(self) -> set[Index]:
        """Return the good ones; in the place of what lacks to ``KEPT``, those before them."""
        older = [each for each in self.indexes() if each < self._good[-1]]
        return {*self._good, *older[: KEPT - len(self._good)]}

    def _named(self, suffix: str) -> set[Index]:
        names = self._files.list(self._directory)
        stems = (name.removesuffix(suffix) for name in names if name.endswith(suffix))
        return {Index(int(stem)) for stem in stems if stem.isdigit()}

    def _path(self, index: Index) -> str:
        return f"{self._directory}/{index:020d}{_SUFFIX}"


class SnapshotWriting:
    """A snapshot that is being written. Its methods block; they raise ``StorageFailed``."""

    def __init__(self, store: SnapshotStore, file: File, index: Index, path: str) -> None:
        self._store = store
        self._file = file
        self._index = index
        self._path = path
        self._end = 0
        self._is_open = True

    def close(self) -> None:
        """Let go of the file. Harmless when it was let go already."""
        if self._is_open:
            self._is_open = False
            self._file.close()

    def write(self, pieces: Sequence[Buffer]) -> None:
        """Add some pieces. ``NoRoom`` leaves nothing of the snapshot."""
        assert self._is_open, f"{self._path} was given up"
        try:
            with may_lack_room():
                self._file.pwrite(pieces, self._end)
        except NoRoom:
            self.close()
            self._store.forget(self._path)
            raise
        size = sum(map(len, pieces))
        self._file.write_back(size, self._end)  # else the sync is of all of it, and others wait
        self._end += size

    def finish(self) -> None:
        """Make it durable under its name."""
        assert self._is_open, f"{self._path} was given up"
        self._file.sync()
        self.close()
        if self._path.endswith(FETCHED):
            self._store.fetched(self._index, self._path)
        else:
            self._store.finished(self._index, self._path)
