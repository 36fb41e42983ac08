"""How far this replica's own log is on disk (ruling 4).

The disk reports only write numbers. Neither term nor index is ever matched,
because an entry may be written, truncated and written again::

    W1 = (5, t2)   W2 = truncate to 4, (5, t3)   W3 = truncate to 4, (5, t2)
    "W1 is durable" arrives now: the log ends with (5, t2), and W1 wrote a
    (5, t2). But W2 still stands between them: a crash after W2 leaves (5, t3).

So what is durable is the end of the log after the reported write, cut by every
truncation that is still in flight behind it.
"""

from collections import deque

from raftlog.base.ids import Index, WriteNumber


class Durability:
    """Turns reports about writes into an index that may be promised."""

    def __init__(self, durable: Index) -> None:
        self.index = durable
        self.issued = WriteNumber(0)
        self.done = WriteNumber(0)
        self._in_flight: deque[tuple[WriteNumber, Index, Index | None]] = deque()

    def issue(self, end: Index, truncated_to: Index | None) -> WriteNumber:
        """Number a new write after which the log ends at ``end``."""
        self.issued = WriteNumber(self.issued + 1)
        if truncated_to is not None and truncated_to < self.index:
            self.index = truncated_to
        self._in_flight.append((self.issued, end, truncated_to))
        return self.issued

    def reported(self, write: WriteNumber) -> None:
        """Take in the report that everything up to ``write`` is on disk."""
        assert write <= self.issued, f"write {write} was never issued"
        if write <= self.done:
            return
        self.done = write
        in_flight = self._in_flight
        end = self.index
        while in_flight and in_flight[0][0] <= write:
            end = in_flight.popleft()[1]
        for _, _, truncated_to in in_flight:
            if truncated_to is not None and truncated_to < end:
                end = truncated_to
        self.index = end

    def covers(self, write: WriteNumber) -> bool:
        """Whether ``write`` is on disk."""
        return write <= self.done
