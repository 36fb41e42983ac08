"""Gives the blocks of large files that were removed back a little at a time.

::

    one go       unlink 64 MiB  ..........90 ms..........      no sync of any log gets through
    like this    unlink | sync directory | -2 MiB | rest | -2 MiB | rest | ... | close

A file system that tells the disk which blocks are free (ext4 with ``discard``, among others)
does so within the transaction that frees them, and every sync of every file waits for it: a
trim, or a snapshot that takes the place of an older one, held up whoever sent something just
then. So who lets go of a large file last makes it shorter step by step, on a thread of its own
that ends with its work. What a process has not come to when it ends, the kernel frees at once.

Nobody sees a file that shrinks: it has no name, durably, and nobody else has it open. That is
asked of the kernel, which gives a lease for writing (``F_SETLEASE``) only for such a file.
"""

import fcntl
import os
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Final

from raftlog.base.limits import MIB

FREED_AT_ONCE_BYTES: Final = 4 * MIB
"""Up to this size nobody notices."""
STEP_BYTES: Final = 2 * MIB
STEP_NS: Final = 20_000_000
"""So long a step takes, with its rest, while one file waits: 100 MiB/s."""
_SETLEASE: Final = getattr(fcntl, "F_SETLEASE", 0)
"""Linux has it; elsewhere files are freed in one go."""


class Freeing:
    """Frees large files that have no name any more. Any thread may call it."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._waiting: Final[deque[tuple[int, str]]] = deque()
        """Descriptors that are ours to close, and the directories their names were in."""
        self._is_running = False

    def close(self, descriptor: int, path: str) -> None:
        """Close a descriptor; what that frees may take its time. Never waits for the disk."""
        if not _is_last_of_a_large_file(descriptor):
            os.close(descriptor)
            return
        with self._lock:
            self._waiting.append((descriptor, os.path.dirname(path) or "."))  # noqa: PTH120
            if self._is_running:
                return
            self._is_running = True
        threading.Thread(target=self._run, name="raftlog-freeing", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_running = False
                    return
                descriptor, directory = self._waiting.popleft()
            # A file that is not freed well is freed in one go: nothing of it is needed.
            with suppress(OSError):
                _sync_directory(directory)
                self._shrink(descriptor)
            os.close(descriptor)

    def _shrink(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        while size > STEP_BYTES:
            began_ns = time.monotonic_ns()
            size -= STEP_BYTES
            os.ftruncate(descriptor, size)
            # The more wait, the less rest: who removes faster than this wants the room back.
            rest_ns = STEP_NS // (1 + len(self._waiting)) - (time.monotonic_ns() - began_ns)
            if rest_ns > 0:
                time.sleep(rest_ns / 1e9)


def _is_last_of_a_large_file(descriptor: int) -> bool:
    found = os.fstat(descriptor)
    if found.st_nlink or found.st_size <= FREED_AT_ONCE_BYTES or not _SETLEASE:
        return False
    try:
        fcntl.fcntl(descriptor, _SETLEASE, fcntl.F_WRLCK)
    except OSError:  # somebody else has it open: who closes it last comes here again
        return False
    return True


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


FREEING: Final = Freeing()
"""That of this process: all its files are on few disks."""
