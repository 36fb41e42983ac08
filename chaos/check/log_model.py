"""What an observer knows of one replica's log: the name and chain value of each entry.

The chain value covers everything before it, so comparing two logs at one index
compares them up to there.
"""

from collections.abc import Iterable
from typing import NamedTuple

from raftlog.base.entry import Entry, LogEnd
from raftlog.base.ids import Index, Term


class Mark(NamedTuple):
    """An entry, by its term and its chain value."""

    term: Term
    checksum: int


class LogModel:
    """A log from index 1 on, as marks. The truth of an observer, not of the replica."""

    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        self.marks: list[Mark] = list(marks)

    def __len__(self) -> int:
        """Return the last index."""
        return len(self.marks)

    def at(self, index: Index) -> Mark | None:
        """Return the mark at ``index``, or None if the log does not reach it."""
        return self.marks[index - 1] if 0 < index <= len(self.marks) else None

    def write(self, truncate_to: Index | None, entries: Iterable[Entry]) -> None:
        """Truncate, then append."""
        if truncate_to is not None:
            del self.marks[truncate_to:]
        for entry in entries:
            assert entry.index == len(self.marks) + 1, f"entry {entry.index} after {len(self)}"
            self.marks.append(Mark(entry.term, entry.checksum))

    def reset(self, base: LogEnd, committed: "LogModel") -> None:
        """Begin anew behind ``base``: everything up to there is what was committed.

        Raises:
            AssertionError: It is another entry than the one that was committed there.
        """
        mark = Mark(base.term, base.checksum)
        assert committed.at(base.index) == mark, f"reset to {base}, which was never committed"
        self.marks = committed.marks[: base.index]

    def copy(self) -> "LogModel":
        """Return an independent copy."""
        return LogModel(self.marks)
