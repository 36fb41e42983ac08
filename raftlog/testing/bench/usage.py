"""What a process used, as the kernel counted it (/proc), beside its own counters."""

import os
import time
from pathlib import Path
from typing import Final

import msgspec

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_WAITS: Final = "\nvoluntary_ctxt_switches:"


class Usage(msgspec.Struct, frozen=True):
    """Counted since the process started, but ``resident_bytes``, which is now."""

    cpu_s: float
    written_bytes: int
    resident_bytes: int
    waits: int
    """How often a thread gave its processor away to wait: each such wait ends in a wake-up."""


def usage_of(pid: int) -> Usage:
    """Read what process ``pid`` used so far.

    Raises:
        OSError: There is no such process, or it belongs to somebody else.
    """
    directory = Path("/proc") / str(pid)
    # The name in the second field may hold spaces and brackets: count from its end.
    fields = (directory / "stat").read_text().rpartition(")")[2].split()
    io = dict(line.split(": ") for line in (directory / "io").read_text().splitlines())
    status = dict(
        line.split(":", 1) for line in (directory / "status").read_text().splitlines() if line
    )
    return Usage(
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        written_bytes=int(io["write_bytes"]),
        resident_bytes=int(status["VmRSS"].split()[0]) * 1024,
        waits=sum(_waits(thread) for thread in (directory / "task").iterdir()),
    )


def _waits(thread: Path) -> int:
    try:
        text = (thread / "status").read_text()
    except FileNotFoundError:
        return 0  # it ended while we looked
    return int(text.partition(_WAITS)[2].split(None, 1)[0])


def own_cpu_s() -> float:
    """Return the CPU seconds of this process so far, more precisely than ``usage_of`` does."""
    return time.process_time()
