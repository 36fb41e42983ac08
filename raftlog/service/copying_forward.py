"""Copying forward: the leader copies the little that is needed of an old range, so that it can go.

::

    range 1 (72 h old)                               ranges 2, 3 (nothing is needed)     open range
    1 of 300 000 batches is needed: a dead letter ------------------------------------> its copy
    all three may go now

Otherwise one record of a topic that is kept for a month keeps everybody's records for a month
(ruling 7: nothing pins the log). Only if little is needed, of this range or of some together with
those behind it, which it keeps: what is kept as a rule would be copied round and round. Nothing
moves but by the command (``broker.survivors``); what could not be read or proposed is looked for
again in the next round.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Index, Offset, Term
from raftlog.base.limits import COALESCE_BYTES_MAX, SURVIVOR_ROWS_MAX
from raftlog.broker.commands import SURVIVORS_LEVEL
from raftlog.broker.index import Posting, Postings, RangeSummary
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queue_index import RangeUse
from raftlog.broker.survivors import ITEM_BYTES, CopiedForward, Copying, Survivor, copy_command
from raftlog.node.ports import Scheduler, Timer
from raftlog.service.copies import pace_ns, read_some
from raftlog.service.ports import ShardReplica, StoredBodies, StoredRanges
from raftlog.storage.span import Place

ROUND_NS: Final = 1_000_000_000
OLD_MS: Final = 3_600_000
"""A range that ended a shorter time ago is left: most of what it holds may go by itself soon."""
LITTLE_SHARE: Final = 4
"""Ranges are freed of which no more than this part is needed."""
RANGES_AHEAD: Final = 16
"""So many are looked at together: the first one may be small, and hold nothing but copies."""
BATCHES_MAX: Final = 1_000
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
        self.copied = 0

    def begin(self) -> None:
        """This node leads."""
        self.end()
        self._arm(ROUND_NS)

    def end(self) -> None:
        """Somebody else leads, or nobody."""
        self._reign += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, delay_ns: int) -> None:
        self._timer = self._scheduler.call_later(delay_ns, self._look)

    def _look(self) -> None:
        self._timer = None
        machine = self._machine
        uses = list(islice(machine.range_uses(), RANGES_AHEAD))
        if machine.feature_level < SURVIVORS_LEVEL or not self._is_little_needed(uses):
            self._arm(ROUND_NS)
        elif uses[0].copies:
            self._copy([_of_row(row) for row in uses[0].copies[:BATCHES_MAX]])
        elif uses[0].queues and len(machine.survivors) < SURVIVOR_ROWS_MAX:
            self._copy_next(*next(iter(uses[0].queues.items())))
        else:
            self._arm(ROUND_NS)

    def _is_little_needed(self, uses: Sequence[RangeUse]) -> bool:
        """Whether some ranges, from the first one on, are worth to be freed."""
        stored = needed = 0
        for use in uses:
            if self._machine.log_time_ms - use.log_time_ms < OLD_MS:
                break
            stored += use.stored_bytes
            needed += use.needed_bytes
            if needed * LITTLE_SHARE <= stored:
                return True
        return False

    def _copy_next(self, queue: int, through: Offset) -> None:
        """Copy what a queue needs and has no copies of, up to an offset, or the first of it."""
        machine, reign = self._machine, self._reign
        row = machine.queues.find(queue)
        offset = max(row.start_offset, machine.survivors.copied_through(queue))

        def loaded(postings: Postings | None, _error: RaftlogError | None) -> None:
            if reign != self._reign:
                return
            if postings is None:
                self._arm(ROUND_NS)  # a peer's copy of the file replaces it meanwhile
                return
            begin = postings.find(offset)
            some = range(begin, min(len(postings), begin + BATCHES_MAX))
            found = [postings[at] for at in some]
            self._copy([Copying(queue, each) for each in found if each.base_offset < through])

        found = machine.find(queue, offset)
        if isinstance(found, RangeSummary):
            self._ranges.load(found, queue, loaded)
        else:
            loaded(found, None)

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
