"""Copying forward: the leader copies the little that is needed of an old range, so that it can go.

::

    range 1 (72 h old)                               ranges 2, 3 (nothing is needed)     open range
    1 of 300 000 batches is needed: a dead letter ------------------------------------> its copy
    all three may go now

Otherwise one record of a topic that is kept for a month keeps everybody's records for a month
(ruling 7: nothing pins the log). Only if little is needed, of this range or of some together with
those behind it, which it keeps: what is kept as a rule would be copied round and round. A range is
weighed in a turn, since it may be of ten thousand queues; then all that is needed of the first one
is copied. Nothing moves but by the command (``broker.survivors``); what could not be read or
proposed is looked for again in the next round.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import COALESCE_BYTES_MAX, MIB, SURVIVOR_ROWS_MAX
from raftlog.base.space import DiskLevel
from raftlog.broker.commands import SURVIVORS_LEVEL
from raftlog.broker.index import Posting, Postings, RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queue_index import RangeUse
from raftlog.broker.survivors import ITEM_BYTES, CopiedForward, Copying, Survivor, copy_command
from raftlog.node.ports import Scheduler, Timer
from raftlog.service.copies import pace_ns, read_some
from raftlog.service.ports import ShardReplica, StoredBodies, StoredRanges
from raftlog.service.relocating import goes
from raftlog.storage.span import Place

ROUND_NS: Final = 1_000_000_000
OLD_MS: Final = 3_600_000
"""A range that ended a shorter time ago is left: most of what it holds may go by itself soon."""
LITTLE_SHARE: Final = 4
"""Ranges are freed of which no more than this part is needed."""
AHEAD_BYTES: Final = 1024 * MIB
"""Ranges are weighed together up to this: the first ones may hold nothing but copies."""
BATCHES_MAX: Final = 500
"""Copied by one command."""


class CopyingForward:
    """Copies for one shard, while this node leads it."""

    def __init__(
        self,
        replica: ShardReplica,
        machine: BrokerMachine,
        ranges: StoredRanges,
        bodies: StoredBodies,
        scheduler: Scheduler,
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._ranges: Final = ranges
        self._bodies: Final = bodies
        self._scheduler: Final = scheduler
        self._reign = 0
        self._timer: Timer | None = None
        self._ended_ms = 0
        """Ranges that ended later are young."""
        self._first: Index | None = None
        """The range that is being freed."""
        self.copied = 0

    def begin(self) -> None:
        """This node leads."""
        self.end()
        self._arm(ROUND_NS)

    def end(self) -> None:
        """Somebody else leads, or nobody."""
        self._reign += 1
        self._first = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, delay_ns: int) -> None:
        self._timer = self._scheduler.call_later(delay_ns, self._look)

    def _look(self) -> None:
        self._timer = None
        machine = self._machine
        if machine.feature_level < SURVIVORS_LEVEL:
            self._arm(ROUND_NS)
            return
        if self._first is not None:
            self._free(self._first)
            return
        self._ended_ms = machine.log_time_ms - OLD_MS
        first = machine.first_needed(self._ended_ms)
        use = None if first is None else machine.use_of(first, self._ended_ms)
        if use is not None and self._can_go(use):
            self._weigh(use.first_index, use, 0, 0)
        else:
            self._arm(ROUND_NS)

    def _can_go(self, use: RangeUse) -> bool:
        """Whether the range would be free in the end: hidden ones leave it, copies have room."""
        machine = self._machine
        is_room = len(machine.survivors) + use.batches <= SURVIVOR_ROWS_MAX
        is_held = use.hidden.hidden_bytes and not goes(use.hidden, machine.log_time_ms)
        return is_room and not is_held and (use.batches > 0 or use.copies > 0)

    def _weigh(self, first: Index, use: RangeUse, stored: int, needed: int) -> None:
        """See whether some ranges, from the first one on, are worth to be freed."""
        stored += use.stored_bytes
        needed += use.needed_bytes
        if needed * LITTLE_SHARE <= stored:
            self._first = first
            self._free(first)
            return
        if stored + needed >= AHEAD_BYTES or self._replica.disk_level is DiskLevel.FULL:
            self._arm(ROUND_NS)  # a full disk has no room for much at once
            return
        reign = self._reign

        def go_on() -> None:
            if reign != self._reign:
                return
            behind = self._machine.use_of(Index(use.last_index + 1), self._ended_ms)
            if behind is None:
                self._arm(ROUND_NS)
            else:
                self._weigh(first, behind, stored, needed)

        self._scheduler.call_soon(go_on)

    # -- copying

    def _free(self, first: Index) -> None:
        """Copy what is needed of a range, or a part of it."""
        machine = self._machine
        use = machine.use_of(first, self._ended_ms)
        if use is None or not self._can_go(use):
            self._first = None
            self._look()
        elif use.copies:
            rows = islice(machine.survivors.of_range(first), BATCHES_MAX)
            self._copy([_of_row(row) for row in rows])
        else:
            self._gather(iter(use.queues.items()), [])

    def _gather(self, queues: Iterator[tuple[int, Offset]], found: list[Copying]) -> None:
        """Find what the next queues need, until it is enough for a command."""
        size = sum([item.posting.length + ITEM_BYTES for item in found])
        queue, through = next(queues, (0, Offset(0)))
        if not queue or len(found) >= BATCHES_MAX or size >= COALESCE_BYTES_MAX:
            if found:
                self._copy(found)
            else:
                self._arm(ROUND_NS)
            return
        reign = self._reign

        def go_on() -> None:
            if reign == self._reign:
                self._gather(queues, found)

        def loaded(postings: Postings | None, offset: Offset) -> None:
            if postings is not None:  # else a peer's copy of the file replaces it meanwhile
                begin = postings.find(offset)
                some = range(begin, min(len(postings), begin + BATCHES_MAX - len(found)))
                each = [postings[at] for at in some]
                found.extend(Copying(queue, one) for one in each if one.base_offset < through)
            self._scheduler.call_soon(go_on)

        self._find(queue, loaded)

    def _find(self, queue: int, loaded: Callable[[Postings | None, Offset], None]) -> None:
        """Find the postings from the first batch on that a queue has no copy of."""
        machine = self._machine
        row = machine.queues.get(queue)
        offset = Offset(0) if row is None else row.start_offset
        offset = max(offset, machine.survivors.copied_through(queue))
        if row is None or offset >= row.end_offset:  # it has gone meanwhile, or its records have
            loaded(None, offset)
            return
        at = machine.find(queue, offset)
        if isinstance(at, RangeSummary):
            self._ranges.load(at, queue, lambda postings, _error: loaded(postings, offset))
        else:
            loaded(at, offset)

    def _copy(self, wanted: Sequence[Copying]) -> None:
        """Read as many as fit into an entry, and propose them."""
        size = 0
        items: list[Copying] = []
        for item in wanted:
            size += item.posting.length + ITEM_BYTES
            if items and size > COALESCE_BYTES_MAX:
                break
            items.append(item)
        reign = self._reign

        def on_bodies(found: Sequence[Buffer], error: RaftlogError | None) -> None:
            if reign != self._reign:
                return
            if error is not None:
                self._arm(ROUND_NS)  # a peer's copy repairs it meanwhile
            else:
                self._propose(items[: len(found)], found)

        read_some(self._replica, self._bodies, [_place(item.posting) for item in items], on_bodies)

    def _propose(self, items: Sequence[Copying], bodies: Sequence[Buffer]) -> None:
        reign = self._reign

        def on_outcome(outcome: object, _term: Term, _index: Index) -> None:
            if reign != self._reign:
                return
            copied = outcome.copied if isinstance(outcome, CopiedForward) else 0
            self.copied += copied
            self._arm(pace_ns(sum(map(len, bodies))) if copied else ROUND_NS)

        command = copy_command(items, bodies)
        self._replica.propose(command.type, command.parts, on_outcome)


def _of_row(row: Survivor) -> Copying:
    posting = Posting(
        *(Offset(row.base_offset), row.count, row.log_time_ms, row.record_time_ms),
        *(row.index, row.position, row.length),
    )
    return Copying(row.queue, posting)


def _place(posting: Posting) -> Place:
    return Place(posting.index, posting.position, posting.length)
