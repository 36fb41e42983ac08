"""What a power cut may take back: every change that a process has made and not yet synced.

The changes are made at once, so that SIGKILL leaves what the kernel has, as it does everywhere
else. Beside each lies how to take it back. ``cut_power`` takes them back, newest first, and makes
some of them again if the disk is to have written some; after it nothing can be changed any more.
What an earlier process left unsynced is not known here and stays.
"""

import os
from collections.abc import Callable, Sequence
from random import Random
from threading import Lock
from typing import Final

from raftlog.base.entry import Buffer

SECTOR_BYTES: Final = 512
KINDS: Final = ("lose", "subset", "torn")
"""Of a power cut: nothing unsynced is left; some operations; some sectors of some."""


class Change:
    """One change of a file's content or size: what was there, what is there."""

    __slots__ = ("at", "new", "old", "old_size")

    def __init__(self, at: int, old: bytes, new: bytes | None, old_size: int) -> None:
        self.at = at
        self.old = old
        self.new = new
        """None: the size was changed to ``at``."""
        self.old_size = old_size


class FileJournal:
    """The unsynced changes of one file, with a handle that outlives the file's own."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor: Final = os.dup(descriptor)
        self.changes: list[Change] = []

    def undo(self) -> None:
        """Take everything back."""
        for change in reversed(self.changes):
            os.pwrite(self.descriptor, change.old, change.at)
            os.ftruncate(self.descriptor, change.old_size)

    def redo(self, random: Random, *, torn: bool) -> int:
        """Make some of it again; return how many operations are there at least in part."""
        made = 0
        for change in self.changes:
            if random.random() < 0.5:
                continue
            made += 1
            if change.new is None:
                os.ftruncate(self.descriptor, change.at)
                continue
            pieces = range(0, len(change.new), SECTOR_BYTES) if torn else (0,)
            length = SECTOR_BYTES if torn else len(change.new)
            for first in pieces:
                if not torn or random.random() < 0.5:
                    os.pwrite(
                        self.descriptor, change.new[first : first + length], change.at + first
                    )
        return made


class Journal:
    """Everything unsynced of one process. Every method may be called by any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._files: dict[tuple[int, int], FileJournal] = {}
        self._names: list[tuple[str, Callable[[], None], Callable[[], None]]] = []
        """Directory, how to take the change back, how to forget how."""

    # -- contents

    def write(self, descriptor: int, data: Sequence[Buffer], offset: int) -> None:
        """Write, and remember what was there. Raises OSError."""
        new = b"".join(data)
        with self._lock:
            size = os.fstat(descriptor).st_size
            old = os.pread(descriptor, len(new), offset)
            done = 0
            while done < len(new):
                done += os.pwrite(descriptor, memoryview(new)[done:], offset + done)
            self._of(descriptor).changes.append(Change(offset, old, new, size))

    def resize(self, descriptor: int, size: int, change: Callable[[], None]) -> None:
        """Change the size by calling ``change``, and remember what is cut off. Raises OSError."""
        with self._lock:
            before = os.fstat(descriptor).st_size
            cut = os.pread(descriptor, before - size, size) if size < before else b""
            change()
            after = os.fstat(descriptor).st_size
            if after != before:
                at = size if size < before else after
                known = Change(at, cut, None, before)
                self._of(descriptor).changes.append(known)

    def sync(self, descriptor: int, sync: Callable[[int], None]) -> None:
        """Call ``sync``; what was changed before it began is durable then. Raises OSError."""
        key = _key(descriptor)
        with self._lock:
            journal = self._files.get(key)
            count = len(journal.changes) if journal is not None else 0
        sync(descriptor)
        with self._lock:
            if journal is None:
                return
            del journal.changes[:count]
            if not journal.changes and self._files.pop(key, None) is journal:
                os.close(journal.descriptor)

    # -- names

    def rename(self, directory: str, do: Callable[[], tuple[Callable[[], None], ...]]) -> None:
        """Change a name by ``do``, which returns how to take that back, and how to forget."""
        with self._lock:
            back, forget = do()
            self._names.append((directory, back, forget))

    def sync_names(self, directory: str, sync: Callable[[str], None]) -> None:
        """Call ``sync``; the names of the directory are durable then."""
        with self._lock:
            sync(directory)
            for each in self._names:
                if each[0] == directory:
                    each[2]()
            self._names = [each for each in self._names if each[0] != directory]

    # -- the end

    def cut_power(self, kind: str, seed: int) -> dict[str, int]:
        """Leave what a disk might have after a power cut, and stop the world for ever."""
        self._lock.acquire()  # never released: whoever changes something now waits for the end
        random = Random(seed)
        files = list(self._files.values())
        count = sum(len(each.changes) for each in files) + len(self._names)
        made = 0
        for each in files:
            each.undo()
            if kind != "lose":
                made += each.redo(random, torn=kind == "torn")
        for _, back, _ in reversed(self._names):
            if kind != "lose" and random.random() < 0.5:
                made += 1
                continue
            back()
        return {"unsynced": count, "made": made}

    def _of(self, descriptor: int) -> FileJournal:
        key = _key(descriptor)
        found = self._files.get(key)
        if found is None:
            found = self._files[key] = FileJournal(descriptor)
        return found


def _key(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino
