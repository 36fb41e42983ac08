"""Where the entries of one segment lie, and the chain value of each.

What is read from a place is held against its chain value: a checksum of its own
proves only that these bytes were an entry once. A write that a disk confirmed
and lost leaves an older one there, perhaps of a branch that was truncated, with
the same index and the same entry before it::

    written    1  2  3' 4' 5'      a read of 3 by its own checksum, or by
    on disk    1  2  3  4  5'      its link to 2, would hand out another log

Chain values come from memory, from the ``.idx`` (made of what memory knew), or
from a scan that followed the chain to a promised end.
"""

from array import array


class EntryPlaces:
    """Position and header checksum of every entry, in order. 8 bytes an entry.

    One object, so that a thread which reads sees both of one moment.
    """

    __slots__ = ("checksums", "positions")

    def __init__(
        self, positions: "array[int] | None" = None, checksums: "array[int] | None" = None
    ) -> None:
        self.positions = array("I") if positions is None else positions
        self.checksums = array("I") if checksums is None else checksums

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.positions)

    def append(self, position: int, checksum: int) -> None:
        """Add the next entry."""
        self.positions.append(position)
        self.checksums.append(checksum)

    def lose(self, count: int, position: int, checksum: int) -> None:
        """Add ``count`` entries that are damaged at ``position``; of the last one's chain value.

        What the others' are is known once they are repaired.
        """
        self.positions.extend([position] * count)
        self.checksums.extend([0] * (count - 1))
        self.checksums.append(checksum)

    def cut(self, count: int) -> None:
        """Keep the first ``count`` entries."""
        del self.positions[count:]
        del self.checksums[count:]
