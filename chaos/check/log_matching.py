"""Log matching: entries with one index and term are one entry, and so is all before (Raft §5.3).

The chain value stands for an entry and its whole past, so it is enough that
each (index, term) has one chain value, whoever writes it.
"""

from collections.abc import Iterable
from typing import Final

from chaos.check.violation import Violation
from raftlog.base.entry import Entry
from raftlog.base.ids import Index, NodeId, Term

NAME: Final = "log_matching"


class LogMatching:
    """Remembers the chain value of every entry that any replica ever wrote."""

    def __init__(self) -> None:
        self._known: dict[tuple[Index, Term], int] = {}

    def written(self, node: NodeId, entries: Iterable[Entry]) -> None:
        """Take in that ``node`` appends ``entries`` to its log.

        Raises:
            Violation: Another content is known under one of their names.
        """
        known = self._known
        for entry in entries:
            checksum = known.setdefault((entry.index, entry.term), entry.checksum)
            if checksum != entry.checksum:
                raise Violation(
                    NAME,
                    f"{node} writes entry {entry.index} of term {entry.term} with chain value "
                    f"{entry.checksum:#010x}; elsewhere it is {checksum:#010x}",
                )
