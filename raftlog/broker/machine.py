"""The machine: committed entries in, offsets out.

::

    entry (log time, commands) --> what is due --> apply --> one outcome per command
                                                    |
                          tables: topics, queues, producers, groups, claims
                          queue index: open range --> sealed ranges

Pure and total. Nothing but the log decides: no clock, no randomness, no file,
and no answer that depends on which replica this is. A command that cannot be
carried out has a refusal as its outcome, the same everywhere; an exception
means that this binary cannot apply the entry at all, and stops the replica
before it (ruling 15).

What it refuses to know: the payload of a batch (it reads the fixed header,
ruling 11), who waits for an outcome, and who waits for new records.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Entry, EntryKind
from raftlog.base.errors import (
    BadBatch,
    NotPermitted,
    RaftlogError,
    Refused,
    Retriable,
    WrongQueue,
)
from raftlog.base.ids import INDEX_ZERO, Index, Offset
from raftlog.broker.appends import APPEND_HEADER_BYTES, Appended, read_append
from raftlog.broker.carrying import Carrier
from raftlog.broker.codec import read_command
from raftlog.broker.commands import (
    BROKER_LEVEL_MIN,
    FEATURE_LEVEL,
    CommandType,
    decode,
    refuse_older,
)
from raftlog.broker.index import Postings, RangeSummary, SealedRange
from raftlog.broker.places import CommandPlace
from raftlog.broker.producers import RememberedBatch
from raftlog.broker.queue_index import Found, HeldRange, NeededRange, RangeUse
from raftlog.broker.queues import Queue
from raftlog.broker.refusals import CommandRefused
from raftlog.broker.snapshot import FrozenTables, Snapshot
from raftlog.broker.state import BrokerState

_APPEND: Final = int(CommandType.APPEND_BATCH)


class BrokerMachine:
    """The state of one shard. Implements ``node.ports.Machine``.

    Every method is called on the loop of the replica that owns it.

    Attributes:
        applied: The last log index that the state includes.
        topics: To be looked at: ``get``, ``find``, ``nearest``, ``after``.
        queues: To be looked at: ``get``, ``find``.
        types: To be looked at: ``of``, ``check``, ``refusal``.
        groups: To be looked at: ``get``, ``find``, ``after``, ``assignment``.
        claims: To be looked at: ``get``, ``of_group``.
        leasing: To be looked at: queue-style groups, and what they have in flight.
        delays: To be looked at: ``pending``, ``soon``.
        hidden: To be looked at: ``get``, ``of_queue``, ``in_range``.
        survivors: To be looked at: ``copied_through``, ``of_range``.
        producers: For invariants alone.
        state: All of it, for invariants and tests alone.
        own_level: The highest feature level that this binary can apply.
    """

    def __init__(self) -> None:
        self.applied: Index = INDEX_ZERO
        self.own_level = FEATURE_LEVEL
        self.state: Final = BrokerState()
        self._carrier: Final = Carrier(self.state)
        self.queues: Final = self.state.queues
        self.topics: Final = self.state.topics
        self.types: Final = self.state.types
        self.groups: Final = self.state.groups
        self.claims: Final = self.state.claims
        self.leasing: Final = self.state.leasing
        self.producers: Final = self.state.producers
        self.delays: Final = self.state.delays
        self.hidden: Final = self.state.hidden
        self.survivors: Final = self.state.index.survivors
        self._index: Final = self.state.index
        self._frozen: FrozenTables | None = None
        self._frozen_taken = False

    def restore(self, ranges: Sequence[RangeSummary], snapshot: Snapshot) -> None:
        """Start where a snapshot was made; replay goes on after it.

        ``ranges`` follow one another from where the snapshot's log was trimmed, and
        end at the snapshot's index. What the machine knew is of an earlier time.
        """
        facts = snapshot.facts
        end = ranges[-1].last_index if ranges else facts.trimmed
        assert end == snapshot.index, f"ranges up to {end} for a snapshot at {snapshot.index}"
        assert self.applied < end, f"restore of {end} by a machine that applied {self.applied}"
        if self._frozen is not None:
            self._frozen.end()
            self._frozen = None
        self._frozen_taken = False
        self.applied = snapshot.index
        self.state.load(snapshot, ranges)

    # -- apply

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
            outcomes = self._apply_commands(entry, body)
        self.applied = entry.index
        open_range = self._index.open
        open_range.body_bytes += len(body)
        if open_range.is_full or self._carrier.range_ends:
            self._carrier.range_ends = False
            self._index.cut(self.applied, self.log_time_ms, self.feature_level)
            self._freeze()
        return outcomes

    def _freeze(self) -> None:
        """Hold the tables as they are, unless an earlier snapshot is being written."""
        if self._frozen is not None:
            if self._frozen_taken and not self._frozen.ended:
                return
            self._frozen.end()
        tables = [(kind, table.freeze()) for kind, table in self.state.tables]
        self._frozen = FrozenTables(
            *(self.applied, self.log_time_ms, self.state.facts, tables),
            level=self.feature_level,
        )
        self._frozen_taken = False

    def _apply_commands(self, entry: Entry, body: memoryview) -> list[object]:
        commands = decode(body)
        if commands.feature_level < BROKER_LEVEL_MIN:
            refuse_older(f"entry {entry.index}", commands.feature_level)
        state = self.state
        # A leader that had not applied the first entry of a level yet stamps the one before.
        if commands.feature_level > state.feature_level:
            state.enter_level(commands.feature_level)
        state.log_time_ms = max(state.log_time_ms, commands.log_time_ms)
        if entry.term != state.term:
            state.new_leader(entry.term)
        if state.log_time_ms >= state.timetable.due_ms:
            state.timetable.pass_time(state.log_time_ms)
        outcomes: list[object] = []
        for number, (kind, position, length) in enumerate(commands.places):
            if kind == _APPEND:
                outcomes.append(self._append(entry, body, position, length))
                continue
            place = CommandPlace(entry.index, entry.term, number, position)
            raw = self._carrier.raw.get(kind)
            try:
                if raw is not None:
                    outcomes.append(raw(place, body, length))
                    continue
                command = read_command(kind, body[position : position + length])
                outcomes.append(self._carrier.carry_out(command, place))
            except (Refused, Retriable) as error:
                outcomes.append(CommandRefused(error.with_traceback(None)))
        return outcomes

    def _append(
        self, entry: Entry, body: memoryview, position: int, length: int
    ) -> Appended | CommandRefused:
        """Store a batch: the one path that has to be fast."""
        read = read_append(body, position, length)
        if read is None:
            return CommandRefused(BadBatch("the command holds no record batch"))
        number, size, count, epoch, producer, sequence, known_through, record_time_ms = read
        queue = self.queues.table.rows.get(number)
        if queue is None:
            return CommandRefused(WrongQueue(f"there is no queue {number}"))
        producers = self.producers
        row = None
        if producer:
            row = producers.table.rows.get((number, producer))
            if row is None:
                refusal = producers.refusal_of_new(sequence)
                if refusal is not None:
                    return CommandRefused(refusal)
            else:
                answer = producers.answer(row, epoch, sequence, count, known_through)
                if answer is not None:
                    return _answered(answer, sequence)
        at = position + APPEND_HEADER_BYTES
        if self.types.masks or not queue.writable:
            refusal = self._refusal(queue, body, (at, size, count))
            if refusal is not None:
                return CommandRefused(refusal)
        if self.queues.table.frozen is not None:
            self.queues.table.touch(number)
        base = queue.end_offset
        queue.end_offset = Offset(base + count)
        index = entry.index
        log_time_ms = self.state.log_time_ms
        if producer:
            if row is None:
                row = producers.begin(number, producer, epoch, log_time_ms)
            producers.remember(
                row, RememberedBatch(sequence, count, base, entry.term, index), log_time_ms
            )
        open_range = self._index.open
        open_range.postings_of(number).append(
            *(base, count, log_time_ms, record_time_ms, index),
            *(at, size),
        )
        open_range.count += 1
        self.state.touched.add(number)
        return Appended(base, count, entry.term, index)

    def _refusal(
        self, queue: Queue, body: memoryview, batch: tuple[int, int, int]
    ) -> Refused | None:
        """Return why a topic does not take a batch, by its settings; None: it does."""
        if not queue.writable:
            return NotPermitted(f"topic {queue.topic!r} is not writable")
        return self.types.refusal(queue, body, batch)

    # -- looking

    @property
    def log_time_ms(self) -> int:
        """The largest log time of an applied entry (ruling 8)."""
        return self.state.log_time_ms

    @property
    def feature_level(self) -> int:
        """By whose rules entries are applied, and what they are stamped with (ruling 15).

        A shard without an entry begins at the lowest, unless its leader knows that all members
        can apply more (``service.levelling``).
        """
        return self.state.feature_level or BROKER_LEVEL_MIN

    @property
    def next_due_ms(self) -> int:
        """When something is due next, in log time; at or before ``log_time_ms``: now."""
        return self.state.timetable.due_ms

    @property
    def trimmed(self) -> Index:
        """The log is not needed up to here."""
        return self._index.trimmed

    def free_through(self) -> tuple[Index, int]:
        """Return up to where nothing is needed that was not trimmed yet, in how many ranges."""
        return self._index.free_through(self.state.start_of)

    def oldest_needed(self) -> NeededRange | None:
        """Return the oldest sealed range that queues need, and who they are; None if none is."""
        return self._index.oldest_needed(self.state.start_of)

    def held_by_hidden(self) -> HeldRange | None:
        """Return the first range that is needed, if only hidden batches need it."""
        return self._index.held_by_hidden(self.state.start_of)

    def first_needed(self, ended_ms: int) -> Index | None:
        """Return where the first stored range begins that is needed, if it ended before."""
        return self._index.first_needed(ended_ms, self.state.start_of)

    def use_of(self, first: Index, ended_ms: int) -> RangeUse | None:
        """Return what is needed of the stored range that begins there, if it ended before."""
        return self._index.use_of(first, ended_ms, self.state.start_of)

    def sealed_before(self, log_time_ms: int) -> Index:
        """Return the end of the last stored range that ended at or before a log time."""
        return self._index.sealed_before(log_time_ms)

    def find(self, queue: int, offset: Offset) -> Found:
        """Return the postings that hold ``offset``, or the stored range that does.

        There is such a queue, and ``offset`` is at or after its start and before its end.
        """
        row = self.queues.get(queue)
        assert row is not None, f"queue {queue} is not here"
        assert row.start_offset <= offset < row.end_offset, f"offset {offset} is not here"
        return self._index.find(queue, offset)

    def find_time(self, queue: int, log_time_ms: int) -> Found | None:
        """Return the first range that has a batch of the queue with this log time or a later one.

        None if there is none. The batch may lie before the queue's start.
        """
        return self._index.find_time(queue, log_time_ms)

    def find_bytes(self, queue: int, size: int) -> tuple[Found, int] | None:
        """Return the range where the queue's newest ``size`` bytes begin, and the bytes behind it.

        None if the queue never had more.
        """
        return self._index.find_bytes(queue, size)

    def batch_bytes(self, queue: int) -> int:
        """Return the bytes of the queue's batches that the log still has."""
        return self._index.batch_bytes(queue)

    def open_postings(self, queue: int) -> Postings | None:
        """Return what the open range has of a queue, if anything."""
        return self._index.open.postings.get(queue)

    def take_touched(self) -> set[int]:
        """Return the queues that got records, moved or went since the last call."""
        touched, self.state.touched = self.state.touched, set()
        return touched

    def take_regrouped(self) -> set[str]:
        """Return the groups whose generation has changed, or that went, since the last call."""
        return self.groups.take_regrouped()

    def take_snapshot(self) -> FrozenTables | None:
        """Return the tables as they were at the last cut, to be written; each is taken once.

        Until its ``end`` is called no other cut is held.
        """
        if self._frozen_taken:
            return None
        self._frozen_taken = self._frozen is not None
        return self._frozen

    def take_sealed(self) -> list[SealedRange]:
        """Return the ranges cut since the last call, oldest first, to be stored."""
        return self._index.take_sealed()

    def stored(self, summary: RangeSummary) -> None:
        """Let go of the oldest sealed range, whose file is durable; its summary stays."""
        self._index.stored(summary)

    @property
    def ranges(self) -> Sequence[RangeSummary]:
        """The sealed ranges, oldest first. Slow where some have not been stored yet."""
        return self._index.ranges

    @property
    def range_count(self) -> int:
        """How many sealed ranges there are."""
        return self._index.range_count

    def digest(self) -> str:
        """Return a name for the whole state: equal at equal ``applied`` on every replica.

        Only what the log decides is in it; what is stored already, or was
        restored rather than applied, is not.
        """
        state = hashlib.blake2b(digest_size=16)
        state.update(msgspec.msgpack.encode((self.applied, self.log_time_ms, self.state.facts)))
        self._index.digest(state)
        for _, table in self.state.tables:
            table.digest(state)
        return state.hexdigest()


def _answered(answer: RememberedBatch | RaftlogError, sequence: int) -> Appended | CommandRefused:
    """Return what a batch is told that is not stored (again)."""
    if not isinstance(answer, RememberedBatch):
        return CommandRefused(answer)
    if answer.hidden_id:
        return CommandRefused(BadBatch(f"sequence {sequence} was hidden at first"))
    return Appended(*(answer.base_offset, answer.count, answer.term, answer.index), duplicate=True)
