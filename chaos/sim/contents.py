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

    __slots__ = ("durable", "landed", "locked", "now", "unreadable", "unsynced")

    def __init__(self) -> None:
        self.durable = bytearray()
        self.landed: bytearray | None = None
        """What is durable in truth, if the disk has lost writes that it confirmed."""
        self.now = bytearray()
        self.unsynced: list[Operation] = []
        self.unreadable: set[int] = set()
        self.locked = False

    def fork(self) -> "Inode":
        """Return a copy."""
        copy = Inode()
        copy.durable[:] = self.durable
        copy.landed = None if self.landed is None else bytearray(self.landed)
        copy.now[:] = self.now
        copy.unsynced = list(self.unsynced)
        copy.unreadable = set(self.unreadable)
        return copy

    def sync(self, operation: Operation, *, lost: bool) -> None:
        """Confirm an operation; a lost one leaves what was there before, or zeros.

        Where it makes the file longer, the size lands: that is the file system's, and was written
        at another place.
        """
        if lost and self.landed is None:
            self.landed = bytearray(self.durable)
        perform(self.durable, operation)
        if self.landed is None:
            return
        if not lost:
            perform(self.landed, operation)
        elif len(self.landed) < len(self.durable):
            self.landed.extend(bytes(len(self.durable) - len(self.landed)))

    def settle(self, *, lost: bool) -> None:
        """Let what was lost be gone, from the cache too, or have landed after all."""
        if self.landed is not None and lost:
            self.durable = self.landed
            self.now = bytearray(self.durable)
            for operation in self.unsynced:
                perform(self.now, operation)
        self.landed = None

    def contents(self) -> list[bytearray]:
        """Return everything that damage to the disk damages."""
        found = [self.now, self.durable]
        return found if self.landed is None else [*found, self.landed]

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
