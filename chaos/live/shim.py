"""Power loss beneath the normal file layer: ``shim.c``, built and preloaded where gcc is found.

It repeats what ``journal.py`` does above the system calls, so that a mistake of the suite's own
file layer can't hide one of the product's.
"""

import ctypes
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chaos.live.journal import KINDS

if TYPE_CHECKING:
    from chaos.live.bad_files import Trouble

SOURCE: Final = Path(__file__).with_suffix(".c")
ROOT: Final = "SHIM_ROOT"
ASIDE: Final = "SHIM_ASIDE"
SLOW: Final = "sync slow"


def compiler() -> str | None:
    """Return where gcc is, None if it is nowhere."""
    return shutil.which("gcc")


def build(directory: Path) -> Path:
    """Compile the shim into ``directory``; gcc is found."""
    library = directory / "shim.so"
    gcc = compiler()
    assert gcc is not None, "asked before"
    command = [gcc, "-std=gnu11", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    subprocess.run([*command, "-ldl", "-lpthread"], check=True)
    return library


def preloaded(library: Path, data: Path, aside: Path) -> list[str]:
    """Return what is before a command so that it runs above the shim."""
    names = {"LD_PRELOAD": library, ROOT: data, ASIDE: aside}
    return ["env", *(f"{name}={value}" for name, value in names.items())]


class ShimDisk:
    """The disk of this process, which runs above the shim."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.shim_delay.restype = ctypes.c_long
        self._hits = 0

    @property
    def hits(self) -> Mapping[str, int]:
        """How often what is wrong was met."""
        return {SLOW: self._hits}

    @property
    def hit_files(self) -> Mapping[str, int]:
        """Where errors were met: nowhere."""
        return {}

    def set(self, troubles: Sequence["Trouble"]) -> None:
        """Syncs take longer from now on, or not; nothing else is done here."""
        first = next(iter(troubles), None)
        if len(troubles) > 1 or (first and (first.operation != "sync" or first.error)):
            raise ValueError(f"no shim can do {troubles}")
        delay_ms = int(first.delay_s * 1000) if first else 0
        path = first.path if first else ""
        self._hits = self._library.shim_delay(ctypes.c_long(delay_ms), path.encode())

    def cut_power(self, kind: str, seed: int) -> dict[str, int]:
        """Leave what a disk might have after a power cut; nothing is changed after it."""
        found = (ctypes.c_long * 2)()
        self._library.shim_cut(KINDS.index(kind), ctypes.c_uint64(seed), found)
        return {"unsynced": found[0], "made": found[1]}
