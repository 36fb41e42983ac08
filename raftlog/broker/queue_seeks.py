"""Seeks of queue-style groups: where a group goes on in a queue, also backwards.

::

    seek to 5     3 leased   4 acked   5 waits, tried   6 acked   7 leased | 8 never leased
                  stays                ended            -         ended    | cursor at 5

What comes before the new place and is in flight stays so: it is settled, tried again or given up
as ever. What comes at or behind it is in flight no more, whatever it was (leased, waiting,
blocked, on its way to the dead letters), and is leased again from there, with its first attempt:
who holds it is told ``StaleLease``. Dead letters that are stored stay where they are.
"""

from typing import Annotated, Final

import msgspec

from raftlog.base.errors import BadRequest, LimitReached, OffsetOutOfRange
from raftlog.base.ids import Offset
from raftlog.base.limits import MESSAGES_SOUGHT_MAX, OFFSETS_PER_COMMAND_MAX
from raftlog.broker.finishers import Finishers
from raftlog.broker.flights import BLOCKED, DEAD, Flight, Flights
from raftlog.broker.queue_groups import QueueGroup, QueueGroups
from raftlog.broker.queues import Queues
from raftlog.broker.unread import Unread
from raftlog.broker.values import Count, Name, QueueNumber


class SeekQueueGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Set where a group goes on, in all these queues or none. Outcome: ``QueueGroupSought``.

    Asked again it is done again: what was leased in between is leased once more.
    """

    group: Name
    offsets: Annotated[
        tuple[tuple[QueueNumber, Count], ...],
        msgspec.Meta(min_length=1, max_length=OFFSETS_PER_COMMAND_MAX),
    ]

    def __post_init__(self) -> None:
        """Refuse a queue that is named twice: ``BadRequest``."""
        if len({queue for queue, _ in self.offsets}) != len(self.offsets):
            raise BadRequest("a queue is named twice")


class SoughtQueue(msgspec.Struct, frozen=True, gc=False):
    """What a seek comes to in one queue.

    Attributes:
        queue: Its number.
        before: Where the group was: before that everything was leased once, or passed over.
        after: Where it goes on.
        kept: Messages before that which are in flight, and stay so.
        leased: Messages from there on that were leased, and are not any more.
        waiting: That waited to be tried again, or for their turn.
        failed: That were blocked, or on their way to the dead letters.
    """

    queue: int
    before: int
    after: int
    kept: int
    leased: int
    waiting: int
    failed: int


class QueueGroupSought(msgspec.Struct, frozen=True, gc=False):
    """The group goes on there."""

    queues: tuple[SoughtQueue, ...]


class QueueSeeks:
    """Seeks of the groups of one shard."""

    def __init__(
        self,
        groups: QueueGroups,
        unread: Unread,
        flights: Flights,
        finishers: Finishers,
        queues: Queues,
    ) -> None:
        self._groups: Final = groups
        self._unread: Final = unread
        self._flights: Final = flights
        self._finishers: Final = finishers
        self._queues: Final = queues

    def plan(self, command: SeekQueueGroup) -> QueueGroupSought:
        """Return what a seek would come to; nothing is changed.

        Raises:
            GroupNotFound: There is no such group.
            WrongQueue: There is no such queue.
            BadRequest: The group does not read its topic.
            OffsetOutOfRange: Before a queue's start or beyond its end.
            LimitReached: More would be in flight no more than one command may end, or the group
                may not begin so many queues.
        """
        group = self._groups.find(command.group)
        found = tuple(self._look(group, number, offset) for number, offset in command.offsets)
        ended = sum(each.leased + each.waiting + each.failed for each in found)
        if ended > MESSAGES_SOUGHT_MAX:
            raise LimitReached(
                f"{ended} messages in flight would be leased again; {MESSAGES_SOUGHT_MAX} may be "
                "at once: seek queue by queue, or stop the consumers first"
            )
        unread = (self._groups.cursors.get((group.number, each.queue)) for each in found)
        self._groups.check_cursors(sum(cursor is None for cursor in unread))
        return QueueGroupSought(found)

    def seek(self, command: SeekQueueGroup, now_ms: int) -> QueueGroupSought:
        """Do it. Raises as ``plan``."""
        sought = self.plan(command)
        group = self._groups.find(command.group)
        self._groups.table.touch(group.name)
        for each in sought.queues:
            rows = self._from(group, each.queue, each.after)
            for row in reversed(rows):  # so that nobody's turn comes who is next to go
                self._flights.finish(row, now_ms)
            self._finishers.forget_from(group.number, each.queue, each.after)
            self._unread.move(group, self._queues.find(each.queue), each.before, each.after)
        return sought

    def _from(self, group: QueueGroup, queue: int, offset: int) -> list[Flight]:
        rows = self._flights.of_queue(group.number, queue)
        return [row for row in rows if row.offset >= offset]

    def _look(self, group: QueueGroup, number: int, offset: int) -> SoughtQueue:
        queue = self._queues.find(number)
        if queue.topic not in group.topics:
            raise BadRequest(f"group {group.name!r} does not read topic {queue.topic!r}")
        if not queue.start_offset <= offset <= queue.end_offset:
            raise OffsetOutOfRange(Offset(offset), queue.start_offset, queue.end_offset)
        cursor = self._groups.cursor(group, number)
        before = queue.start_offset if cursor is None else cursor.next
        kept = leased = waiting = failed = 0
        for row in self._flights.of_queue(group.number, number):
            if row.offset < offset:
                kept += 1
            elif row.handle > 0:
                leased += 1
            elif row.handle in (DEAD, BLOCKED):
                failed += 1
            else:
                waiting += 1
        at = max(before, queue.start_offset)
        return SoughtQueue(number, at, offset, kept, leased, waiting, failed)
