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
import signal
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
WAITING_FILES_MAX: Final = 64
"""Each has a descriptor: what comes beyond is freed in one go."""
_SETLEASE: Final = getattr(fcntl, "F_SETLEASE", 0)
"""Linux has it; elsewhere files are freed in one go."""


class Freeing:
    """Frees large files that have no name any more. Any thread may call it."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._waiting: Final[deque[tuple[int, str]]] = deque()
        """Descriptors that are ours to close, and the directories their names were in."""
        self._running_in = 0
        """The process that has a thread for it; 0: none. A forked one has none."""
        self.failed: Final[dict[str, OSError]] = {}
        """Directories that could not be synced: a failed sync is told once, and was told here."""

    def close(self, descriptor: int, path: str) -> None:
        """Close a descriptor; what that frees may take its time. Never waits for the disk."""
        if not _is_last_of_a_large_file(descriptor):
            os.close(descriptor)
            return
        with self._lock:
            self._waiting.append((descriptor, os.path.dirname(path) or "."))  # noqa: PTH120
            is_running = self._running_in == os.getpid()
            self._running_in = os.getpid()
        if not is_running:
            try:
                threading.Thread(target=self._run, name="raftlog-freeing", daemon=True).start()
            except RuntimeError:  # there may be no more threads
                self._running_in = 0
                self._close_beyond(0)
        self._close_beyond(WAITING_FILES_MAX)

    def _close_beyond(self, count: int) -> None:
        """Free what waits in one go, but for the first ``count``."""
        with self._lock:
            while len(self._waiting) > count:
                os.close(self._waiting.pop()[0])

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running_in = 0
                    return
                descriptor, directory = self._waiting.popleft()
            # A file that is not freed well is freed in one go: nothing of it is needed.
            with suppress(OSError):
                if self._sync_directory(directory):
                    self._shrink(descriptor)
            with suppress(OSError):
                os.close(descriptor)

    def _shrink(self, descriptor: int) -> None:
        first = os.fstat(descriptor)
        size = first.st_size
        while size > STEP_BYTES:
            began_ns = time.monotonic_ns()
            now = os.fstat(descriptor)
            if now.st_nlink or now.st_ino != first.st_ino:
                return  # whatever that is, it is not what was removed
            size -= STEP_BYTES
            os.ftruncate(descriptor, size)
            # The more wait, the less rest: who removes faster than this wants the room back.
            rest_ns = STEP_NS // (1 + len(self._waiting)) - (time.monotonic_ns() - began_ns)
            if rest_ns > 0:
                time.sleep(rest_ns / 1e9)

    def _sync_directory(self, directory: str) -> bool:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        except OSError as error:
            self.failed[directory] = error
            return False
        finally:
            os.close(descriptor)
        return True


def _is_last_of_a_large_file(descriptor: int) -> bool:
    found = os.fstat(descriptor)
    if found.st_nlink or found.st_size <= FREED_AT_ONCE_BYTES or not _SETLEASE:
        return False
    try:
        # Who opens it while the lease is held would have the kernel send SIGIO, which ends a
        # process: so it is a signal that nobody heeds, and the lease is given back at once.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, _SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(descriptor, _SETLEASE, fcntl.F_UNLCK)
    except OSError:  # somebody else has it open: who closes it last comes here again
        return False
    return True


FREEING: Final = Freeing()
"""That of this process: all its files are on few disks."""
