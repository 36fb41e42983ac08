"""Relocating: the leader copies bodies of hidden batches to the log's end (ruling 7).

For two reasons, and no batch often:

- a range could go but for what it hides::

      range 1 (passed by all, hides 3 of 300 000)   range 2 ...        open range
              a timer of 30 days ----------------- copied ------------> here now; range 1 goes

  if that is little of it, or it has been so for long: else a shard that holds nothing
  but timers would be copied round and round;
- a batch becomes visible soon and lies in an old range, which would then be needed for its
  whole retention, counted from now.

Nothing moves but by the command, and only from where it was read. What could not be read
or proposed is looked for again in the next round.
"""

from collections.abc import Sequence
from typing import Final

from raftlog.base.entry import Buffer
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Index, Term
from raftlog.base.limits import COALESCE_BYTES_MAX
from raftlog.base.space import DiskLevel
from raftlog.broker.delays import DueOrder
from raftlog.broker.hidden import HiddenBatch, HiddenKey
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queue_index import HeldRange
from raftlog.broker.relocations import ITEM_BYTES, Moving, relocate_command
from raftlog.broker.topics import DEFAULT_RETENTION_MS, FOR_EVER, NO_BOUND
from raftlog.node.ports import Scheduler, Timer
from raftlog.service.copies import pace_ns, read_some
from raftlog.service.ports import ShardReplica, StoredBodies
from raftlog.storage.span import Place

ROUND_NS: Final = 1_000_000_000
ROWS_PER_LOOK: Final = 2_000
SOON_MS: Final = 60_000
"""What is due so soon is looked at."""
OLD_MS: Final = 3_600_000
"""A younger body is not copied because it becomes visible: it pins nothing for longer."""
OLD_SHARE: Final = 4
"""Nor one that is younger than this part of its topic's retention."""
LITTLE_SHARE: Final = 4
"""A range of which no more than this part is hidden is freed when it could go but for that."""
LONG_MS: Final = DEFAULT_RETENTION_MS
"""One of which more is hidden, when nothing has changed there for so long."""


def goes(held: HeldRange, log_time_ms: int) -> bool:
    """Whether what is hidden in a range is copied, so that the range can go."""
    is_little = held.hidden_bytes * LITTLE_SHARE <= held.range_bytes
    return is_little or log_time_ms - held.time_ms >= LONG_MS


class Relocating:
    """Relocates for one shard, while this node leads it."""

    def __init__(
        self,
        replica: ShardReplica,
        machine: BrokerMachine,
        bodies: StoredBodies,
        scheduler: Scheduler,
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._bodies: Final = bodies
        self._scheduler: Final = scheduler
        self._reign = 0
        self._timer: Timer | None = None
        self._looked_through: DueOrder | None = None
        """What is due soon was looked at up to here."""
        self._soon: Sequence[HiddenKey] = ()
        """What of that is to be copied still."""
        self.relocated = 0

    def begin(self) -> None:
        """This node leads."""
        self.end()
        self._begin_anew()

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
        if not len(self._machine.hidden):
            self._arm(ROUND_NS)
            return
        rows = self._rows_that_hold() or self._rows_due_soon()
        if rows:
            self._copy(rows)
        else:
            self._arm(ROUND_NS)

    # -- which

    def _rows_that_hold(self) -> list[HiddenBatch]:
        """Return hidden batches of the first range that could go but for them."""
        held = self._machine.held_by_hidden()
        if held is None:
            return []
        if goes(held, self._machine.log_time_ms):
            return self._machine.hidden.in_range(held.first_index, held.last_index, ROWS_PER_LOOK)
        return []

    def _rows_due_soon(self) -> list[HiddenBatch]:
        """Return those that would become visible soon in an old range."""
        if self._replica.disk_level is DiskLevel.FULL:
            return []  # it must not grow for what can wait
        rows = self._old_ones(self._soon)
        if not rows:
            machine = self._machine
            found, self._looked_through = machine.delays.soon(
                machine.log_time_ms + SOON_MS, self._looked_through, ROWS_PER_LOOK
            )
            rows = self._old_ones([row.key for row in found])
        self._soon = [row.key for row in rows]
        return rows

    def _old_ones(self, keys: Sequence[HiddenKey]) -> list[HiddenBatch]:
        """Return those that are hidden still, and were not copied yet."""
        old: dict[int, Index] = {}
        rows: list[HiddenBatch] = []
        for key in keys:
            row = self._machine.hidden.get(key)
            if row is None:
                continue
            if row.queue not in old:
                old[row.queue] = self._old_index(row.queue)
            if row.index <= old[row.queue]:
                rows.append(row)
        return rows

    def _old_index(self, number: int) -> Index:
        """Return up to which entry a body is so old that it is copied before it is visible."""
        machine = self._machine
        queue = machine.queues.get(number)
        if queue is None:
            return Index(0)
        settings = machine.topics.find(queue.topic).settings
        if settings.retention_ms == FOR_EVER and settings.retention_bytes == NO_BOUND:
            return Index(0)  # it is needed for ever, wherever it lies
        age_ms = max(OLD_MS, settings.retention_ms // OLD_SHARE)
        return machine.sealed_before(machine.log_time_ms - age_ms)

    # -- copying

    def _copy(self, rows: Sequence[HiddenBatch]) -> None:
        """Read as many as fit into an entry, and propose them."""
        ordered = sorted(rows, key=lambda row: (row.index, row.position))
        size = 0
        items: list[Moving] = []
        for row in ordered:
            size += row.length + ITEM_BYTES
            if items and size > COALESCE_BYTES_MAX:
                break
            items.append(Moving(row.key, row.index, row.position, row.length))
        places = [Place(item.index, item.position, item.length) for item in items]
        reign = self._reign

        def on_bodies(found: Sequence[Buffer], error: RaftlogError | None) -> None:
            if reign != self._reign:
                return
            if error is not None:
                self._begin_anew()  # a peer's copy repairs it meanwhile
            else:
                self._propose(items[: len(found)], found)

        read_some(self._replica, self._bodies, places, on_bodies)

    def _begin_anew(self) -> None:
        self._looked_through = None
        self._soon = ()
        self._arm(ROUND_NS)

    def _propose(self, items: Sequence[Moving], bodies: Sequence[Buffer]) -> None:
        reign = self._reign
        size = sum(map(len, bodies))

        def on_outcome(outcome: object, _term: Term, _index: Index) -> None:
            if reign != self._reign:
                return
            if isinstance(outcome, RaftlogError):
                self._begin_anew()
                return
            self.relocated += len(items)
            self._arm(pace_ns(size))

        command = relocate_command(items, bodies)
        self._replica.propose(command.type, command.parts, on_outcome)
