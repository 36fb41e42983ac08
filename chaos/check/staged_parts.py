"""Staged parts of transactions: nobody's until a commit names them, gone when their time is over.

A part is staged once, for so long. Its own commit reveals it with all that were staged with it,
and no other one does: what is missing, or was left out, refuses the whole. What no commit has
named in time is given back: a replica has it no more, and its bytes hold no log. That nothing is
visible early is ``queue_reads``' and ``sends_kept``' business.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from chaos.check.delayed_delivery import Pending
from chaos.check.producer_sequences import Row
from chaos.check.violation import Violation

NAME: Final = "staged_parts"

Key = tuple[int, int]
"""Queue and id."""


class StagedParts:
    """All parts of the committed log that no commit has named."""

    def __init__(self) -> None:
        self.pending: Final[dict[Key, Pending]] = {}
        """``due_ms``: when one is dropped."""
        self._known: Final[set[Key]] = set()

    @property
    def ever(self) -> bool:
        """Whether there was one."""
        return bool(self._known)

    def staged(self, part: Pending) -> None:
        """Take in that a part is stored.

        Raises:
            Violation: Its id is another's.
        """
        key = (part.queue, part.id)
        if key in self._known:
            raise Violation(NAME, f"{key} is given to two parts")
        self._known.add(key)
        self.pending[key] = part

    def passes(self, log_time_ms: int) -> int:
        """Take in an entry's log time; return how many parts it drops, before its commands."""
        due = [key for key, part in self.pending.items() if part.due_ms <= log_time_ms]
        for key in due:
            del self.pending[key]
        return len(due)

    def why_not(self, ids: Mapping[int, Sequence[int]], rows: Mapping[int, Row | None]) -> str:
        """Return why what a commit names can't be revealed; nothing: it can.

        Args:
            ids: What it names, by queue.
            rows: What its producer has stored in each of these queues, in the epoch of the commit.
        """
        for queue, of_queue in ids.items():
            row = rows[queue]
            kept = () if row is None else tuple(row.kept.values())
            known = 0 if row is None else row.known_through
            last = [each for each in kept if each.base_sequence + each.count > known]
            if [each.hidden_id for each in last[-len(of_queue) :]] != list(of_queue):
                return f"{[*of_queue]} are not what was staged last for queue {queue}"
            gone = [each for each in of_queue if (queue, each) not in self.pending]
            if gone:
                return f"{gone} of queue {queue} are not there"
        return ""

    def revealed(self, queue: int, ids: Iterable[int], why_not: str) -> list[Pending]:
        """Take in that a commit was carried out that names these; return them.

        Raises:
            Violation: It could not be: ``why_not``.
        """
        if why_not:
            raise Violation(NAME, f"a transaction is committed, and {why_not}")
        return [self.pending.pop((queue, each)) for each in ids]

    def told_expired(self, why_not: str) -> None:
        """Take in that a commit was refused, because a part of it was not there.

        Raises:
            Violation: All of it was.
        """
        if not why_not:
            raise Violation(NAME, "a transaction is told to have expired; all of it is there")

    def closed(self, queues: Collection[int]) -> None:
        """Take in that queues are gone, and all that was staged for them."""
        for key in [key for key in self.pending if key[0] in queues]:
            del self.pending[key]

    def relocated(self, key: Key, old: Key, new: Key, data: bytes) -> bool:
        """Take in a copy of a part's bytes; return whether the part points there now.

        Raises:
            Violation: The copy has other bytes.
        """
        part = self.pending.get(key)
        if part is None or (part.index, part.position) != old:
            return False
        if data != part.data:
            raise Violation(NAME, f"the copy of {key} in entry {new[0]} has other bytes")
        part.index, part.position = new
        return True

    def trimmed(self, through: int) -> None:
        """Take in that the log is forgotten up to ``through``.

        Raises:
            Violation: A part that is staged lies there.
        """
        for part in self.pending.values():
            if part.index <= through:
                raise Violation(NAME, f"the log is trimmed to {through}: {_place_of(part)}")


class StagedRow(msgspec.Struct, frozen=True):
    """A part as a replica has it."""

    index: int
    position: int
    length: int
    due_ms: int


def _place_of(part: Pending) -> StagedRow:
    return StagedRow(part.index, part.position, len(part.data), part.due_ms)


def check_rows(node: str, rows: Mapping[Key, StagedRow], pending: Mapping[Key, Pending]) -> None:
    """Compare what a replica has that is as far as the log.

    Raises:
        Violation: It has lost a part, has it elsewhere, or has one that is to be gone.
    """
    for key in sorted(rows.keys() | pending.keys()):
        part = pending.get(key)
        expected = None if part is None else _place_of(part)
        if rows.get(key) != expected:
            raise Violation(NAME, f"{node} has {rows.get(key)} of {key}; it is {expected}")
