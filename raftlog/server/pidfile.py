"""Which process is ours: a pid and the moment that it was started.

A pid alone is not an identity: it is used again. A pid file therefore holds
the start time of the process, as the kernel counts it, and the boot that it
belongs to; a signal is sent through a pid descriptor that was opened *before*
both were compared, so that it can never reach another process.
"""

import os
import signal
from pathlib import Path
from typing import Final, Self

import msgspec

from raftlog.base.boot import boot_id
from raftlog.base.errors import Unavailable

_PROC: Final = Path("/proc")
_STATE_FIELD: Final = 0
_START_FIELD: Final = 19
"""Fields of ``/proc/<pid>/stat``, counted behind the name (proc(5): 3 and 22)."""


class ProcessId(msgspec.Struct, frozen=True):
    """One process, for ever: no later process is equal to it."""

    pid: int
    started: int
    boot: str

    @classmethod
    def find(cls, pid: int) -> Self | None:
        """Return the process that has ``pid`` now; None if it has ended or waits to be reaped."""
        try:
            stat = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name stands in parentheses and may contain both blanks and parentheses.
        fields = stat.rpartition(")")[2].split()
        if fields[_STATE_FIELD] in ("Z", "X"):
            return None
        return cls(pid, int(fields[_START_FIELD]), boot_id())

    @property
    def is_running(self) -> bool:
        """Whether this very process still runs."""
        return self.find(self.pid) == self

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to this very process; return whether it was still there.

        Raises:
            Unavailable: It belongs to another user.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.is_running:
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        except PermissionError as error:
            raise Unavailable(
                f"process {self.pid} belongs to another user; stop it as that user"
            ) from error
        finally:
            os.close(descriptor)
        return True


class PidFile:
    """The file that says which process runs a node on this machine."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    def write(self, process: ProcessId) -> None:
        """Note ``process``, whole or not at all."""
        new = self.path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(process))
        new.replace(self.path)

    def running(self) -> ProcessId | None:
        """Return the process that is noted, if it still runs.

        What cannot be read names no process: nothing is signalled by a guess.
        """
        process = self.noted()
        return process if process is not None and process.is_running else None

    def noted(self) -> ProcessId | None:
        """Return the process that is noted, whether it runs or has ended."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=ProcessId)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def remove(self) -> None:
        """Forget the process. Idempotent."""
        self.path.unlink(missing_ok=True)
