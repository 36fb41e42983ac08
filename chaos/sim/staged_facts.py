"""What the committed log says of staged parts of transactions, told to their invariants."""

from typing import TYPE_CHECKING, Final

from chaos.check.delayed_delivery import Pending
from chaos.check.producer_sequences import Kept, Row
from chaos.check.staged_parts import StagedParts
from chaos.sim.limits import limit_of
from raftlog.base.entry import Entry
from raftlog.base.errors import RaftlogError, TransactionExpired
from raftlog.broker import staging
from raftlog.broker.appends import APPEND_HEADER_BYTES
from raftlog.broker.atomic_commands import TransactionHead
from raftlog.broker.staging import BatchStaged
from raftlog.wire.batch import Batch

if TYPE_CHECKING:
    from chaos.sim.atomic_facts import Part
    from chaos.sim.facts import Facts


class StagedFacts:
    """The staged parts of one run.

    Args:
        facts: Of the whole run.
    """

    def __init__(self, facts: "Facts") -> None:
        self.parts: Final = StagedParts()
        self._facts: Final = facts
        self._now_ms = 0

    def passes(self, log_time_ms: int) -> None:
        """Take in an entry's log time, before its commands."""
        self._now_ms = log_time_ms
        dropped = self.parts.passes(log_time_ms)
        if dropped:
            self._facts.marks["staged batches dropped by time"] += dropped

    def staged(self, entry: Entry, position: int, length: int, outcome: BatchStaged) -> None:
        """Take in a part that is stored, or was before.

        Raises:
            Violation: An invariant is broken.
        """
        facts = self._facts
        place = position + APPEND_HEADER_BYTES
        queue = int.from_bytes(entry.body[position:place], "little")
        data = bytes(entry.body[place : position + length])
        maker = Batch(data).header.producer
        kept = Kept(
            *(maker.base_sequence, outcome.count, 0, outcome.term, outcome.index),
            outcome.id,
        )
        if outcome.duplicate:
            facts.marks["staged batches known"] += 1
            facts.sequences.answered_again(maker.id, queue, maker.epoch, kept)
            return
        facts.marks["staged batches"] += 1
        facts.sequences.stored(maker.id, queue, maker.epoch, kept)
        due_ms = self._now_ms + limit_of(staging, "STAGED_MS_MAX")
        place_of = (entry.index, place)
        self.parts.staged(Pending(queue, outcome.id, due_ms, outcome.count, *place_of, data))

    def relocated(
        self, key: tuple[int, int], old: tuple[int, int], new: tuple[int, int], data: bytes
    ) -> bool:
        """Take in a copy of a body; return whether a staged part points there now.

        Raises:
            Violation: The copy has other bytes.
        """
        moved = self.parts.relocated(key, old, new, data)
        if moved:
            self._facts.marks["staged batches relocated"] += 1
        return moved

    def revealed(self, head: TransactionHead, parts: list["Part"]) -> dict[int, list[Pending]]:
        """Take in a commit that was carried out; return what was staged for it, by queue.

        Raises:
            Violation: Not all of it was there.
        """
        if not head.staged:
            return {}
        self._facts.marks["transactions staged"] += 1
        why_not = self._why_not(head, parts)
        return {
            queue: self.parts.revealed(queue, ids, why_not)
            for queue, ids in _by_queue(head).items()
        }

    def refused(self, head: TransactionHead, parts: list["Part"], error: RaftlogError) -> None:
        """Take in a commit that was refused.

        Raises:
            Violation: It is told that a part is not there, and all are.
        """
        if isinstance(error, TransactionExpired):
            self.parts.told_expired(self._why_not(head, parts))

    def _why_not(self, head: TransactionHead, parts: list["Part"]) -> str:
        makers = {part.queue: part.batch.header.producer for part in parts}
        rows: dict[int, Row | None] = {}
        for queue, maker in makers.items():
            row = self._facts.sequences.rows.get((maker.id, queue))
            rows[queue] = row if row is not None and row.epoch == maker.epoch else None
        return self.parts.why_not(_by_queue(head), rows)


def _by_queue(head: TransactionHead) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for queue, id_ in head.staged:
        found.setdefault(queue, []).append(id_)
    return found
