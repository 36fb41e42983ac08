"""One act of damage, and where acts of damage are possible.

A file has *used* bytes and padding: blocks are 4 KiB, and a segment is allocated
whole. Every used byte is a case for the whole cluster; so is every 64th byte of
padding. The others are looked at by recovery alone, which is where they could
matter (``sweep.PADDING_STRIDE``).
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from chaos.sim.cluster import DATA, SHARD
from chaos.sim.disk import SimDisk
from raftlog.base.limits import BLOCK_BYTES

FLIP: Final = "flip"
CUT: Final = "cut"
KINDS: Final = {
    f"{DATA}/node.meta": "node.meta",
    f"{SHARD}/hard.state": "hard.state",
    f"{SHARD}/durable.mark": "durable.mark",
}
SUFFIXES: Final = {
    ".seg": "log",
    ".idx": "log places",
    ".qx": "index",
    ".tables": "snapshot",
}


class Harm(msgspec.Struct, frozen=True):
    """One bit of the byte at ``offset`` is flipped, or the file ends there."""

    way: str
    path: str
    offset: int

    def do(self, disk: SimDisk) -> None:
        """Do it."""
        if self.way == FLIP:
            disk.flip_bit(self.path, self.offset, self.offset % 8)
        else:
            disk.cut_file(self.path, self.offset)

    @property
    def kind(self) -> str:
        """What kind of file it hits."""
        suffix = self.path[self.path.rindex(".") :]
        return KINDS.get(self.path) or SUFFIXES[suffix]

    def __str__(self) -> str:
        """As the command line takes it."""
        return f"{self.way} {self.path} {self.offset}"


def harmful(disk: SimDisk) -> list[str]:
    """Return the files that a node reads."""
    return [
        path
        for path in disk.paths()
        if path in KINDS or any(path.endswith(suffix) for suffix in SUFFIXES)
    ]


def used(path: str, content: bytes) -> set[int]:
    """Return the offsets of bytes that say something: no zeros up to the end of their block.

    A derived file is as long as what it says; a zero at its end says something.
    """
    if path not in KINDS and not path.endswith(".seg"):
        return set(range(len(content)))
    found: set[int] = set()
    for start in range(0, len(content), BLOCK_BYTES):
        block = content[start : start + BLOCK_BYTES].rstrip(b"\0")
        found.update(range(start, start + len(block)))
    return found


def every_harm(disk: SimDisk) -> Iterator[tuple[Harm, bool]]:
    """Yield everything that can be done to one byte, and whether the byte is used."""
    for path in harmful(disk):
        content = disk.content(path)
        says = used(path, content)
        for offset in range(len(content)):
            yield Harm(FLIP, path, offset), offset in says
            # A file that ends inside padding has lost nothing but zeros; the byte before tells.
            yield Harm(CUT, path, offset), offset in says or offset - 1 in says
