"""What the committed log says of batches that are copied forward, told to ``copied_forward``."""

from typing import TYPE_CHECKING, Final

from chaos.check.copied_forward import CopiesForward
from chaos.check.queue_reads import StoredBatch
from raftlog.base.entry import Entry
from raftlog.broker.survivors import CopiedForward, read_copies

if TYPE_CHECKING:
    from chaos.sim.facts import Facts


class CopyFacts:
    """The copies of one run."""

    def __init__(self, facts: "Facts") -> None:
        self._facts: Final = facts
        self._copies: Final = CopiesForward(facts.reads)

    def copied(self, entry: Entry, position: int, length: int, outcome: CopiedForward) -> None:
        """Take in a command that copies, and how many of its copies count."""
        facts, counted = self._facts, 0
        for item, place in read_copies(entry.body, position, length):
            if item.queue in facts.deleted:
                continue
            posting = item.posting
            copy = StoredBatch(
                *(posting.base_offset, posting.count, posting.log_time_ms),
                *(posting.index, posting.position),
                bytes(entry.body[place : place + posting.length]),
            )
            start, _ = facts.bounds(item.queue)
            counted += self._copies.copied(item.queue, start, copy, (entry.index, place))
        self._copies.told(counted, outcome.copied)
        facts.marks["copied forward"] += counted
        facts.marks["copied forward in vain"] += not counted
        if self._copies.again:
            facts.marks["copies copied again"] = self._copies.again
