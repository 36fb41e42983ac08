"""The core's view of the log: names of all entries, bodies of the recent ones.

The core decides by term and index; it needs the term of any retained entry
(for the consistency check of Raft §5.3) and the entries that followers have
not acknowledged yet. Terms are kept as runs, because they change only with
elections. Entries are kept as a *tail*: everything that is not yet durable or
not yet applied here, and as much before it as ``tail_bytes_max`` allows
(ruling 14). What is older is loaded from the disk by the shell::

      start                    tail_first            last_index
        |   known by its term     |  known by its bytes  |
        +-------------------------+----------------------+
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from raftlog.base.entry import Entry, EntryId, LogEnd
from raftlog.base.ids import TERM_ZERO, Index, Term


class LogView:
    """Terms of the whole retained log, entries of its tail."""

    def __init__(
        self, start: LogEnd, end: LogEnd, term_runs: Sequence[tuple[Index, Term]]
    ) -> None:
        self.start = start
        self._end_with(end)
        self._firsts = [first for first, _ in term_runs]
        self._terms = [term for _, term in term_runs]
        self._entries: list[Entry] = []
        self._ends: list[int] = []
        self._first = Index(end.index + 1)
        self._base = 0
        assert end.index >= start.index, f"log ends at {end.index}, before {start.index}"
        assert not term_runs or term_runs[-1][1] == end.term, f"term runs disagree with {end}"

    def _end_with(self, end: LogEnd) -> None:
        self.end = end
        self.last_index: Index = end.index
        """Of the last entry, or of the one before the first. It is read at every turn."""

    @property
    def last_id(self) -> EntryId:
        """Name of the last entry."""
        return EntryId(self.end.term, self.end.index)

    @property
    def tail_first(self) -> Index:
        """Index of the oldest entry in memory."""
        return self._first

    @property
    def tail_bytes(self) -> int:
        """Bytes of the entries in memory."""
        return self._ends[-1] - self._base if self._ends else 0

    def term_at(self, index: Index) -> Term | None:
        """Return the term of the entry at ``index``, or None if it is not retained."""
        if index == self.end.index:
            return self.end.term
        if index == self.start.index:
            return self.start.term
        if index < self.start.index or index > self.end.index:
            return None
        return self._terms[bisect_right(self._firsts, index) - 1]

    def has(self, end: LogEnd) -> bool:
        """Whether this very entry is here; where its chain value is not at hand, by its term."""
        if self.term_at(end.index) != end.term:
            return False
        return self.chain_at(end.index) in (-1, end.checksum)

    def chain_at(self, index: Index) -> int:
        """Return the chain value at ``index`` if it is at hand, else -1."""
        if index == self.end.index:
            return self.end.checksum
        if index == self.start.index:
            return self.start.checksum
        entry = self.entry(index)
        return -1 if entry is None else entry.checksum

    def learn_terms(self, term_runs: Sequence[tuple[Index, Term]]) -> None:
        """Take in the true terms of entries that were damaged, before anything was decided."""
        self._firsts = [first for first, _ in term_runs]
        self._terms = [term for _, term in term_runs]

    def entry(self, index: Index) -> Entry | None:
        """Return the entry at ``index`` if it is in memory."""
        position = index - self._first
        return self._entries[position] if 0 <= position < len(self._entries) else None

    def entries(self, first: Index, last: Index) -> list[Entry]:
        """Return the entries from ``first`` to ``last`` that are in memory, if ``first`` is."""
        position = first - self._first
        return self._entries[position : last + 1 - self._first] if position >= 0 else []

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries at the end; they must link to it."""
        first = entries[0]
        assert first.index == self.end.index + 1, f"gap: {first.index} after {self.end.index}"
        assert first.previous == self.end.checksum, (
            f"divergence: entry {first.index} links to {first.previous:#010x}, "
            f"this log ends with {self.end.checksum:#010x}"
        )
        term = self.end.term
        total = self._ends[-1] if self._ends else self._base
        ends = self._ends
        for entry in entries:
            if entry.term != term or not self._firsts:
                assert entry.term >= term, f"term fell from {term} to {entry.term}"
                self._firsts.append(entry.index)
                self._terms.append(entry.term)
                term = entry.term
            total += len(entry.frame)
            ends.append(total)
        self._entries.extend(entries)
        self._end_with(entries[-1].end)

    def truncate(self, to: Index, checksum: int) -> None:
        """Drop every entry after ``to``, whose chain value is ``checksum``."""
        term = self.term_at(to)
        assert term is not None, f"truncation to {to}, outside the log"
        keep = bisect_right(self._firsts, to)
        del self._firsts[keep:]
        del self._terms[keep:]
        kept = max(0, to + 1 - self._first)
        del self._entries[kept:]
        del self._ends[kept:]
        if not self._entries:
            self._restart_tail(Index(to + 1))
        self._end_with(LogEnd(to, term, checksum))

    def slice(self, first: Index, bytes_max: int) -> tuple[Entry, ...] | None:
        """Return entries from ``first``: what fits in ``bytes_max``, at least one.

        None if ``first`` is no longer in memory.
        """
        position = first - self._first
        if position < 0:
            return None
        before = self._ends[position - 1] if position else self._base
        stop = bisect_right(self._ends, before + bytes_max, position)
        return tuple(self._entries[position : max(stop, position + 1)])

    def bytes_after(self, *indexes: Index) -> int:
        """Bytes of the entries in memory after the lowest of ``indexes``."""
        if not self._ends:
            return 0
        position = min(indexes) - self._first
        return self._ends[-1] - (self._ends[position] if position >= 0 else self._base)

    def evict(self, through: Index, tail_bytes_max: int) -> None:
        """Forget the oldest entries up to ``through`` while the tail is over its limit.

        The core asks so twice: for what is applied, with the usual limit, and with a larger
        one for what is only committed and durable, because apply may stand still at damage.
        """
        excess = self.tail_bytes - tail_bytes_max
        if excess <= 0:
            return
        count = bisect_left(self._ends, self._base + excess) + 1
        count = min(count, through + 1 - self._first, len(self._entries))
        # Deleting from the front moves the rest: do it rarely, for many at once.
        if count < 64 and not self.is_swollen(tail_bytes_max):
            return
        if count <= 0:
            return
        base = self._ends[count - 1]
        del self._entries[:count]
        del self._ends[:count]
        self._first = Index(self._first + count)
        self._base = base

    def is_swollen(self, tail_bytes_max: int) -> bool:
        """Whether the tail is so far over its limit that even few entries are worth evicting."""
        return self.tail_bytes >= tail_bytes_max + tail_bytes_max // 4

    def trim(self, start: LogEnd) -> None:
        """Forget everything up to ``start``, which the store has dropped."""
        assert self.start.index <= start.index <= self.end.index, f"trim to {start.index}"
        keep = max(0, bisect_right(self._firsts, start.index) - 1)
        del self._firsts[:keep]
        del self._terms[:keep]
        self.start = start

    def reset(self, base: LogEnd) -> None:
        """Forget everything; the log begins anew behind ``base``."""
        self._firsts.clear()
        self._terms.clear()
        self._entries.clear()
        self._ends.clear()
        self.start = base
        self._end_with(base)
        self._restart_tail(Index(base.index + 1))

    def last_at_or_below(self, index: Index, term: Term) -> EntryId:
        """Return the last entry at or below ``index`` whose term is not above ``term``.

        Both sides use it to skip a whole run of terms in one round trip when
        logs differ (Raft §5.3, the remark on fewer rejected AppendEntries).
        """
        index = min(index, self.end.index)
        while index > self.start.index:
            run = bisect_right(self._firsts, index) - 1
            if self._terms[run] <= term:
                return EntryId(self._terms[run], index)
            index = Index(self._firsts[run] - 1)
        return EntryId(self.start.term if index >= self.start.index else TERM_ZERO, index)

    def _restart_tail(self, first: Index) -> None:
        """Begin an empty tail at ``first``."""
        self._first = first
        self._base = 0
