"""A disk in memory that forgets what a real one may forget.

Every file has two contents: what a reader sees, and what would survive a power
cut. Between them lies the ordered list of operations that nobody has synced.
The same holds for the names in a directory. ``crash`` decides, from a random
stream, which of the unsynced operations made it::

    keep      all of them (kill -9: the kernel has them)
    lose      none of them
    subset    any of them, in any combination (reordering)
    torn      any of them, and of each write any of its 512-byte sectors

``cut_power`` leaves nothing to chance: whoever calls it says what is left of each.

Faults for everything else that disks do: errors of reads, writes and syncs, no
space, bit rot, sectors that can't be read, writes that land in a wrong place, or
nowhere. An error of a sync drops the file's dirty pages: they read back as long as the
"kernel" runs, count as clean, and are gone after a power cut. So it is with a write
that is *lost*: its sync is confirmed, and the cache has it until ``settle`` says that it
shows, or that it landed after all.

One thread only. Directories themselves are never lost, only names in them.
"""

import errno
from collections.abc import Callable, Sequence
from enum import Enum
from random import Random
from typing import NamedTuple

from chaos.sim.contents import SECTOR_BYTES, Fate, Inode, Operation, perform, sectors
from raftlog.base.entry import Buffer
from raftlog.base.errors import DirectoryLocked, StorageFailed


class CrashKind(Enum):
    """What a power cut does to operations that were not synced."""

    KEEP = "keep"
    LOSE = "lose"
    SUBSET = "subset"
    TORN = "torn"


class Killed(BaseException):
    """The process ended inside an operation. Not an error that code could handle."""


class Unsynced(NamedTuple):
    """An operation that a power cut may take back."""

    path: str
    kind: str
    at: int
    length: int
    when: int
    """A later operation has a higher number."""


NameChanges = list[tuple[str, "Inode | None"]]
NameChange = tuple[str, NameChanges, int]
"""A directory, names in it that change together (None takes a name away), and when."""


class SimDisk:
    """The disk of one machine; survives ``crash``, its files' handles do not."""

    def __init__(self) -> None:
        self._names: dict[str, Inode] = {}
        self._durable_names: dict[str, Inode] = {}
        self._unsynced_names: list[NameChange] = []
        self._directories: set[str] = set()
        self.generation = 0
        self.operations = 0
        self.on_operation: Callable[[str, str], None] | None = None
        """Called before each operation that changes something; may raise ``Killed`` or OSError."""
        self.after_operation: Callable[[], None] | None = None
        self.read_error: Callable[[str, int, int], bool] | None = None
        """Whether a read of (path, offset, length) fails."""
        self.loses: Callable[[str, Operation], bool] | None = None
        """Whether an operation never lands that a sync of (path) confirms now."""

    def files(self) -> "SimFiles":
        """Return the file system as one incarnation of the process sees it."""
        return SimFiles(self, self.generation)

    def kill_after(self, operations: int) -> None:
        """Kill the process before the operation that comes after so many. Once."""
        countdown = operations

        def on_operation(_call: str, _path: str) -> None:
            nonlocal countdown
            countdown -= 1
            if countdown < 0:
                self.on_operation = None
                raise Killed

        self.on_operation = on_operation

    def fork(self) -> "SimDisk":
        """Return an independent copy in the same state, without hooks."""
        copy = SimDisk()
        inodes: dict[int, Inode] = {}

        def forked(inode: Inode) -> Inode:
            if id(inode) not in inodes:
                inodes[id(inode)] = inode.fork()
            return inodes[id(inode)]

        copy._names = {name: forked(inode) for name, inode in self._names.items()}
        copy._durable_names = {name: forked(inode) for name, inode in self._durable_names.items()}
        copy._unsynced_names = [
            (folder, [(name, forked(inode) if inode else None) for name, inode in changes], when)
            for folder, changes, when in self._unsynced_names
        ]
        copy._directories = set(self._directories)
        copy.generation = self.generation
        copy.operations = self.operations
        return copy

    def crash(self, random: Random, kind: CrashKind) -> None:
        """End the process and, unless ``kind`` is KEEP, cut the power."""
        self.generation += 1
        for inode in self._inodes():
            inode.locked = False
            if kind is CrashKind.KEEP:
                continue
            for written in inode.unsynced:
                for part in _surviving(random, kind, written):
                    perform(inode.durable, part)
            inode.unsynced = []
            inode.now = bytearray(inode.durable)
        if kind is CrashKind.KEEP:
            return
        for _, changes, _ in self._unsynced_names:
            if kind is CrashKind.LOSE or random.random() < 0.5:
                continue
            self._make_durable(changes)
        self._unsynced_names = []
        self._names = dict(self._durable_names)

    def unsynced(self) -> list[Unsynced]:
        """Return what a power cut may take back, numbered as ``cut_power`` numbers it.

        First the operations on files, file by file, then the changes of names; each in order.
        """
        paths = {id(inode): path for path, inode in self._names.items()}
        found = [
            Unsynced(paths.get(id(inode), ""), kind, at, len(data), when)
            for inode in self._inodes()
            for kind, at, data, when in inode.unsynced
        ]
        found += [
            Unsynced(changes[0][0], "names", 0, 0, when)
            for _, changes, when in self._unsynced_names
        ]
        return found

    def cut_power(self, fate_of: Callable[[int], Fate]) -> None:
        """End the process and cut the power; ``fate_of`` says what is left of each operation."""
        self.generation += 1
        number = 0
        for inode in self._inodes():
            inode.locked = False
            for operation in inode.unsynced:
                for part in fate_of(number)(operation):
                    perform(inode.durable, part)
                number += 1
            inode.unsynced = []
            inode.now = bytearray(inode.durable)
        for _, changes, when in self._unsynced_names:
            if fate_of(number)(("names", 0, b"", when)):
                self._make_durable(changes)
            number += 1
        self._unsynced_names = []
        self._names = dict(self._durable_names)

    def fingerprint(self) -> int:
        """Return a name, in this process, for what a reader sees on the whole disk."""
        return hash(frozenset((path, bytes(inode.now)) for path, inode in self._names.items()))

    def flip_bit(self, path: str, offset: int, bit: int) -> None:
        """Rot one bit, on disk and in the cache."""
        inode = self._names[path]
        for content in inode.contents():
            if offset < len(content):
                content[offset] ^= 1 << bit

    def cut_file(self, path: str, size: int) -> None:
        """Lose the end of a file, on disk and in the cache."""
        inode = self._names[path]
        for content in inode.contents():
            del content[size:]

    def zero(self, path: str, offset: int, length: int) -> None:
        """Lose some sectors, on disk and in the cache: they read as zeros."""
        inode = self._names[path]
        for content in inode.contents():
            stop = min(offset + length, len(content))
            if offset < stop:
                content[offset:stop] = bytes(stop - offset)

    def lose_sectors(self, path: str, offset: int, length: int) -> None:
        """Let every read of these sectors fail, until they are written again."""
        self._names[path].unreadable.update(sectors(offset, length))

    def misplace(self, path: str, offset: int, data: bytes) -> None:
        """Let a write that was meant for another place land here, on disk and in the cache."""
        inode = self._names[path]
        for content in inode.contents():
            data = data[: max(0, len(content) - offset)]
            content[offset : offset + len(data)] = data

    def content(self, path: str) -> bytes:
        """Return what a reader sees."""
        return bytes(self._names[path].now)

    def paths(self) -> list[str]:
        """Return the names of all files, sorted."""
        return sorted(self._names)

    @property
    def has_lost(self) -> bool:
        """Whether writes are lost that nobody can have missed yet."""
        return any(inode.landed is not None for inode in self._inodes())

    def settle(self, *, lost: bool) -> None:
        """Let lost writes be missed from now on, or have landed after all."""
        for inode in self._inodes():
            inode.settle(lost=lost)

    def wipe(self) -> None:
        """Lose everything: a new, empty disk."""
        self.put_back(SimDisk())

    def put_back(self, backup: "SimDisk") -> None:
        """Hold what ``backup`` holds; nothing is armed."""
        copy = backup.fork()
        self.generation += 1
        self.on_operation = self.read_error = None
        self._names, self._durable_names = copy._names, copy._durable_names
        self._unsynced_names, self._directories = copy._unsynced_names, copy._directories

    def _inodes(self) -> list[Inode]:
        changes = [change for _, changes, _ in self._unsynced_names for change in changes]
        unsynced = [inode for _, inode in changes if inode is not None]
        found = [*self._names.values(), *self._durable_names.values(), *unsynced]
        return list({id(inode): inode for inode in found}.values())

    def _make_durable(self, changes: "list[tuple[str, Inode | None]]") -> None:
        for name, inode in changes:
            if inode is None:
                self._durable_names.pop(name, None)
            else:
                self._durable_names[name] = inode


def _surviving(random: Random, kind: CrashKind, operation: Operation) -> list[Operation]:
    """Return what is left of one unsynced operation."""
    what, at, data, when = operation
    if kind is CrashKind.LOSE:
        return []
    if kind is CrashKind.SUBSET or what == "size":
        return [operation] if random.random() < 0.5 else []
    parts: list[Operation] = []
    position = 0
    while position < len(data):
        length = min(SECTOR_BYTES - (at + position) % SECTOR_BYTES, len(data) - position)
        if random.random() < 0.5:
            parts.append((what, at + position, data[position : position + length], when))
        position += length
    return parts


class SimFile:
    """An open file of a simulated disk."""

    def __init__(self, files: "SimFiles", inode: Inode, path: str) -> None:
        self.path = path
        self._files = files
        self._inode = inode
        self._holds_lock = False
        self._is_open = True
        files.open_count += 1

    def pread(self, length: int, offset: int) -> bytes:
        """Read what is there now."""
        self._files.check_alive()
        if not self._is_open:
            raise OSError(errno.EBADF, "closed", self.path)
        error = self._files.disk.read_error
        if error is not None and error(self.path, offset, length):
            raise OSError(errno.EIO, "simulated read error", self.path)
        if self._inode.unreadable and length and self._inode.fails(offset, length):
            raise OSError(errno.EIO, "simulated latent error", self.path)
        return bytes(memoryview(self._inode.now)[offset : offset + length])

    def pread_now(self, length: int, offset: int) -> bytes | None:
        """Read; the simulated page cache has everything."""
        return self.pread(length, offset)

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Write to the cache."""
        data = b"".join(buffers)
        self._begin("write", offset)
        operation = ("write", offset, data, self._files.disk.operations)
        perform(self._inode.now, operation)
        self._inode.unsynced.append(operation)
        if self._inode.unreadable:  # a disk puts other sectors in the place of written ones
            self._inode.unreadable.difference_update(sectors(offset, len(data)))
        self._files.end()

    def write_back(self, length: int, offset: int) -> None:
        """Do nothing: an unsynced write may be on the disk at any time."""

    def sync(self) -> None:
        """Make everything that was written so far durable."""
        inode = self._inode
        try:
            self._begin("fdatasync", None)
        except StorageFailed:
            inode.unsynced = []  # clean, and not on disk
            raise
        loses = self._files.disk.loses
        for operation in inode.unsynced:
            inode.sync(operation, lost=loses is not None and loses(self.path, operation))
        inode.unsynced = []
        self._files.end()

    def truncate(self, size: int) -> None:
        """Cut or extend."""
        self._change_size("ftruncate", size)

    def allocate(self, size: int) -> None:
        """Extend with zeros; never cuts."""
        self._change_size("fallocate", max(size, len(self._inode.now)))

    def size(self) -> int:
        """Return the length."""
        return len(self._inode.now)

    def close(self) -> None:
        """Release the lock, if this handle holds it."""
        self._files.open_count -= self._is_open
        self._is_open = False
        if self._holds_lock:
            self._holds_lock = False
            self._inode.locked = False

    def _begin(self, call: str, offset: int | None) -> None:
        self._files.check_alive()
        if not self._is_open:
            error = OSError(errno.EBADF, "closed", self.path)
            raise StorageFailed(call, self.path, offset, error)
        self._files.begin(call, self.path, offset)

    def _change_size(self, call: str, size: int) -> None:
        self._begin(call, size)
        operation = ("size", size, b"", self._files.disk.operations)
        perform(self._inode.now, operation)
        self._inode.unsynced.append(operation)
        self._files.end()


class SimFiles:
    """``storage.files.Files`` over a simulated disk, for one incarnation of a process."""

    def __init__(self, disk: SimDisk, generation: int) -> None:
        self.disk = disk
        self.open_count = 0
        """Handles that were not closed."""
        self._generation = generation

    def check_alive(self) -> None:
        """A process that was killed does nothing any more."""
        if self._generation != self.disk.generation:
            raise Killed

    def begin(self, call: str, path: str, offset: int | None) -> None:
        """Give the hook its chance to fail or to kill."""
        self.check_alive()
        self.disk.operations += 1
        if self.disk.on_operation is not None:
            try:
                self.disk.on_operation(call, path)
            except OSError as error:
                raise StorageFailed(call, path, offset, error) from error

    def end(self) -> None:
        """An operation has happened."""
        if self.disk.after_operation is not None:
            self.disk.after_operation()

    def open(self, path: str, *, create: bool = False) -> SimFile:
        """Open, making the file if asked to."""
        self.check_alive()
        inode = self.disk._names.get(path)
        if inode is None:
            if not create:
                missing = FileNotFoundError(errno.ENOENT, "no such file", path)
                raise StorageFailed("open", path, None, missing)
            self.begin("create", path, None)
            inode = Inode()
            self._change_names([(path, inode)])
            self.end()
        return SimFile(self, inode, path)

    def lock(self, path: str) -> SimFile:
        """Open and hold."""
        file = self.open(path, create=True)
        if file._inode.locked:
            raise DirectoryLocked(f"another process has {_parent(path)} open; stop it first")
        file._inode.locked = True
        file._holds_lock = True
        return file

    def exists(self, path: str) -> bool:
        """Whether the name is there now."""
        self.check_alive()
        return path in self.disk._names or path in self.disk._directories

    def list(self, path: str) -> list[str]:
        """Return names, of files and of directories, sorted."""
        self.check_alive()
        prefix = f"{path}/"
        below = [*self.disk._names, *self.disk._directories]
        found = {name[len(prefix) :].split("/")[0] for name in below if name.startswith(prefix)}
        return sorted(found)

    def make_directory(self, path: str) -> None:
        """Remember it and its parents."""
        self.check_alive()
        while path and path not in self.disk._directories:
            self.disk._directories.add(path)
            path = _parent(path)

    def sync_directory(self, path: str) -> None:
        """Make the names in it durable."""
        self.begin("fsync", path, None)
        rest: list[NameChange] = []
        for change in self.disk._unsynced_names:
            if change[0] == path:
                self.disk._make_durable(change[1])
            else:
                rest.append(change)
        self.disk._unsynced_names = rest
        self.end()

    def rename(self, old: str, new: str) -> None:
        """Move a name: one operation, whole or not at all."""
        self.begin("rename", old, None)
        inode = self.disk._names[old]
        self._change_names([(new, inode), (old, None)])
        self.end()

    def remove(self, path: str, *, gently: bool = False) -> None:  # noqa: ARG002  (nobody waits)
        """Take a name away."""
        self.begin("unlink", path, None)
        self._change_names([(path, None)])
        self.end()

    def _change_names(self, changes: NameChanges) -> None:
        """Change names of one directory together: a rename is never seen half done."""
        for path, inode in changes:
            if inode is None:
                self.disk._names.pop(path, None)
            else:
                self.disk._names[path] = inode
        directory = _parent(changes[0][0])
        self.disk._unsynced_names.append((directory, changes, self.disk.operations))


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
