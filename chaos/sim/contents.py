"""A file's two contents, now and after a power cut, and what is between them."""

from collections.abc import Callable, Sequence
from typing import Final

SECTOR_BYTES: Final = 512

Operation = tuple[str, int, bytes, int]
"""What happened to a file, ``write`` at an offset or ``size``, and which of the disk's operations
it was; or ``names`` of a directory."""
Fate = Callable[[Operation], Sequence[Operation]]
"""What is left of an operation after a power cut; nothing, or all of it, for ``names``."""


class Inode:
    """A file's bytes, now and after a power cut."""

    __slots__ = ("durable", "locked", "now", "unreadable", "unsynced")

    def __init__(self) -> None:
        self.durable = bytearray()
        self.now = bytearray()
        self.unsynced: list[Operation] = []
        self.unreadable: set[int] = set()
        self.locked = False

    def fork(self) -> "Inode":
        """Return a copy."""
        copy = Inode()
        copy.durable[:] = self.durable
        copy.now[:] = self.now
        copy.unsynced = list(self.unsynced)
        copy.unreadable = set(self.unreadable)
        return copy

    def fails(self, offset: int, length: int) -> bool:
        """Whether a read of what is there hits a sector that can't be read."""
        length = min(length, len(self.now) - offset)
        return length > 0 and not self.unreadable.isdisjoint(sectors(offset, length))


def sectors(offset: int, length: int) -> range:
    """Return the numbers of the sectors that some bytes lie in."""
    return range(offset // SECTOR_BYTES, (offset + length - 1) // SECTOR_BYTES + 1)


def perform(content: bytearray, operation: Operation) -> None:
    """Let an operation happen to one of the contents."""
    kind, at, data, _ = operation
    if kind == "size":
        if at < len(content):
            del content[at:]
        else:
            content.extend(bytes(at - len(content)))
        return
    end = at + len(data)
    missing = end - len(content)
    if missing > 0:
        content.extend(bytes(missing))
    content[at:end] = data
