"""The machine: committed entries in, offsets out.

::

    entry (log time, commands) --> apply --> one outcome per command
                                     |
                                     +--> postings of the open range --> sealed ranges

Pure and total. Nothing but the log decides: no clock, no randomness, no file,
and no answer that depends on which replica this is. A command that cannot be
carried out has a refusal as its outcome, the same everywhere; an exception
means that this binary cannot apply the entry at all, and stops the replica
before it (ruling 15).

What it refuses to know: the payload of a batch (it reads the fixed header,
ruling 11), who waits for an outcome, and who waits for new records.

There is one queue, number 0, and no way to open another yet. Queues are keyed
by number throughout, so topics will add rows, not another shape.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Entry, EntryKind
from raftlog.base.errors import BadBatch, Refused, WrongQueue
from raftlog.base.ids import INDEX_ZERO, Index, Offset
from raftlog.broker.appends import APPEND_HEADER_BYTES, read_append
from raftlog.broker.commands import CommandType, decode
from raftlog.broker.index import (
    OpenRange,
    Postings,
    RangeDirectory,
    RangeSummary,
    SealedRange,
)
from raftlog.broker.ranges import seal_range
from raftlog.broker.refusals import CommandRefused

QUEUE_ZERO: Final = 0
OFFSET_ZERO: Final = Offset(0)


class Appended(msgspec.Struct, frozen=True, gc=False):
    """The outcome of a stored batch: where its records are."""

    base_offset: Offset
    count: int


class BrokerMachine:
    """The state of one shard. Implements ``node.ports.Machine``.

    Every method is called on the loop of the replica that owns it.

    Attributes:
        applied: The last log index that the state includes.
        log_time_ms: The largest log time of an applied entry (ruling 8).
        end_offset: The offset that the next record of queue 0 gets.
    """

    def __init__(self) -> None:
        self.applied: Index = INDEX_ZERO
        self.log_time_ms = 0
        self.end_offset: Offset = OFFSET_ZERO
        self._summaries: list[RangeSummary] = []
        self._directory = RangeDirectory()
        self._unstored: dict[Index, SealedRange] = {}
        self._taken = 0
        self._open = OpenRange(Index(1))

    @property
    def start_offset(self) -> Offset:
        """The first offset that can be read; nothing trims the log yet."""
        return OFFSET_ZERO

    def restore(self, ranges: Sequence[RangeSummary]) -> None:
        """Start from stored ranges, which follow one another from index 1.

        The machine is new. Replay goes on after the last of them.
        """
        assert self.applied == INDEX_ZERO, f"restore of a machine that applied {self.applied}"
        for summary in ranges:
            assert summary.first_index == self.applied + 1, (
                f"range {summary.first_index} does not follow {self.applied}"
            )
            self._include(summary)
            self.applied = summary.last_index
            self.log_time_ms = summary.log_time_ms
        self._taken = len(self._summaries)
        self._open = OpenRange(Index(self.applied + 1))

    def apply(self, entry: Entry) -> Sequence[object]:
        """Apply one committed entry; return one outcome for each command in it.

        Raises:
            IncompatibleFormat: The entry needs another version of raftlog.
            CorruptFrame: No raftlog proposes such an entry.
        """
        assert entry.index == self.applied + 1, f"entry {entry.index} after {self.applied}"
        outcomes: Sequence[object] = ()
        body = entry.body
        if entry.kind is EntryKind.COMMANDS:
            outcomes = self._apply_commands(entry.index, body)
        self.applied = entry.index
        open_range = self._open
        open_range.body_bytes += len(body)
        if open_range.is_full:
            self._cut()
        return outcomes

    def _apply_commands(self, index: Index, body: memoryview) -> list[object]:
        commands = decode(body)
        log_time_ms = self.log_time_ms = max(self.log_time_ms, commands.log_time_ms)
        outcomes: list[object] = []
        for kind, position, length in commands.places:
            if kind != CommandType.APPEND_BATCH:
                outcomes.append(CommandRefused(Refused("this shard takes record batches only")))
                continue
            facts = read_append(body, position, length)
            if facts is None:
                outcomes.append(CommandRefused(BadBatch("the command holds no record batch")))
                continue
            queue, count, record_time_ms = facts
            if queue != QUEUE_ZERO:
                outcomes.append(CommandRefused(WrongQueue(f"there is no queue {queue}")))
                continue
            base = self.end_offset
            self._open.postings_of(queue).append(
                base,
                count,
                log_time_ms,
                record_time_ms,
                index,
                position + APPEND_HEADER_BYTES,
                length - APPEND_HEADER_BYTES,
            )
            self._open.count += 1
            self.end_offset = Offset(base + count)
            outcomes.append(Appended(base, count))
        return outcomes

    def _cut(self) -> None:
        sealed = seal_range(self._open, self.applied, self.log_time_ms)
        self._include(sealed.summary)
        self._unstored[sealed.summary.first_index] = sealed
        self._open = OpenRange(Index(self.applied + 1))

    def _include(self, summary: RangeSummary) -> None:
        self._summaries.append(summary)
        for span in summary.queues:
            self._directory.add(span, summary)
            self.end_offset = span.end_offset

    def find(self, offset: Offset) -> Postings | RangeSummary:
        """Return the postings that hold ``offset``, or the stored range that does.

        ``offset`` is at or after ``start_offset`` and before ``end_offset``.
        """
        assert self.start_offset <= offset < self.end_offset, f"offset {offset} is not here"
        postings = self._open.postings.get(QUEUE_ZERO)
        if postings is not None and offset >= postings.base_offset:
            return postings
        summary = self._directory.find(offset)
        sealed = self._unstored.get(summary.first_index)
        return summary if sealed is None else sealed.postings[QUEUE_ZERO]

    def take_sealed(self) -> list[SealedRange]:
        """Return the ranges cut since the last call, oldest first, to be stored."""
        fresh = self._summaries[self._taken :]
        self._taken = len(self._summaries)
        return [self._unstored[summary.first_index] for summary in fresh]

    def stored(self, summary: RangeSummary) -> None:
        """Let go of a sealed range whose file is durable; its summary stays."""
        del self._unstored[summary.first_index]

    @property
    def ranges(self) -> Sequence[RangeSummary]:
        """The sealed ranges, oldest first."""
        return self._summaries

    def digest(self) -> str:
        """Return a name for the whole state: equal at equal ``applied`` on every replica.

        Only what the log decides is in it; what is stored already, or was
        restored rather than applied, is not.
        """
        state = hashlib.blake2b(digest_size=16)
        state.update(
            msgspec.msgpack.encode(
                (
                    self.applied,
                    self.log_time_ms,
                    self.start_offset,
                    self.end_offset,
                    [(summary.first_index, summary.checksum) for summary in self._summaries],
                    self._open.first_index,
                    self._open.body_bytes,
                    sorted(self._open.postings),
                )
            )
        )
        for _, postings in sorted(self._open.postings.items()):
            for column in postings.columns:
                state.update(column)
        return state.hexdigest()
