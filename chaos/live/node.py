"""``python -m chaos.live.node DIRECTORY MUTANT COMMAND...``: ``raftlog`` on a disk that can fail.

In no wheel. The product has no switch for this: the files that it opens are replaced here, and so
is, for a planted bug, the source of a module (ruling 37); MUTANT is "" for the product as it is.
In DIRECTORY are the socket by which the suite says what happens to the disk and to the clock, and
what is kept aside.
Nothing of raftlog may be imported before the hook is installed.
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final

import msgspec

from chaos.mutants.hook import install
from chaos.mutants.patches import find

if TYPE_CHECKING:
    from chaos.live.bad_clock import BadClock
    from chaos.live.bad_files import Disk
    from chaos.live.shim import ShimDisk

SOCKET: Final = "disk.sock"
ASIDE: Final = "aside"
TROUBLES: Final = "troubles.json"
"""What is wrong with the disk from the start; read once."""
PR_SET_PDEATHSIG: Final = 1
RANGE_POSTINGS: Final = 256
"""Small ranges, the same at every node: logs are trimmed many times in a short run."""


def main() -> None:
    """Become a node."""
    die_with_parent()
    place, mutant, *arguments = sys.argv[1:]
    if mutant:
        install(find(mutant))
    from chaos.live.bad_clock import BadClock  # noqa: PLC0415  (after the hook)
    from chaos.live.bad_files import BadFiles, Disk, Trouble, empty  # noqa: PLC0415  (after the hook)
    from chaos.live.shim import ROOT, ShimDisk  # noqa: PLC0415  (after the hook)
    from raftlog.broker import index  # noqa: PLC0415
    from raftlog.node import host  # noqa: PLC0415
    from raftlog.storage import directory  # noqa: PLC0415

    index.RANGE_POSTINGS = RANGE_POSTINGS  # type: ignore[misc]
    disk: Disk | ShimDisk
    if ROOT in os.environ:
        disk = ShimDisk()
        empty(Path(place) / ASIDE)
    else:
        disk = files_disk = Disk()
        files = BadFiles(disk, Path(place) / ASIDE)
        vars(directory)["OsFiles"] = lambda: files
        measure = host.measure
        host.measure = lambda path: files_disk.measured(measure(path))
    if (troubles := Path(place) / TROUBLES).exists():
        disk.set(msgspec.json.decode(troubles.read_bytes(), type=list[Trouble]))
        troubles.unlink()
    clock = BadClock()
    clock.install()
    path = Path(place) / SOCKET
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    Thread(target=_serve, args=(listening, disk, clock), daemon=True).start()
    sys.argv = ["raftlog", *arguments]
    from raftlog.__main__ import main as raftlog  # noqa: PLC0415

    sys.exit(raftlog())


def die_with_parent() -> None:
    """Be killed when the suite's thread that has started this ends, however that ends.

    A process that stands still reads no end of its standard input. Where the kernel is not
    Linux that is all there is.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _serve(listening: socket.socket, disk: "Disk | ShimDisk", clock: "BadClock") -> None:
    while True:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError), connection.makefile("rwb") as stream:
            for line in stream:
                stream.write(
                    msgspec.json.encode(_obey(msgspec.json.decode(line), disk, clock)) + b"\n"
                )
                stream.flush()


def _obey(order: dict[str, object], disk: "Disk | ShimDisk", clock: "BadClock") -> dict[str, int]:
    from chaos.live.bad_files import Trouble  # noqa: PLC0415  (after the hook)

    match order:
        case {"troubles": list(troubles)}:
            disk.set(msgspec.convert(troubles, list[Trouble]))
            return dict(disk.hits)
        case {"clock": int(shift_ms)}:
            clock.set(shift_ms)
            return {"reads": clock.reads}
        case {"hits": _}:
            return dict(disk.hits)
        case {"hit_files": _}:
            return dict(disk.hit_files)
        case {"power": str(kind), "seed": int(seed), "report": str(report)}:
            found = disk.cut_power(kind, seed)
            Path(report).write_bytes(msgspec.json.encode(found))
            os.kill(os.getpid(), signal.SIGKILL)
            return found  # pragma: no cover  (nobody is here any more)
        case _:
            raise ValueError(f"{order} is no order")


if __name__ == "__main__":
    main()
