"""How a queue-style group is: where it is in each queue, and what it has not finished."""

from collections.abc import Mapping

import msgspec

from raftlog.base.ids import Offset
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queue_groups import QueueGroup
from raftlog.broker.queue_subscriptions import QueueSubscription
from raftlog.broker.queues import Queue
from raftlog.service.unread import Wanted


class CursorState(msgspec.Struct, frozen=True, gc=False):
    """Where a group is in a queue."""

    queue: int
    topic: str
    place: int
    next: int
    oldest: int
    """The first that is not finished: in flight, or never leased; the end: there is none."""
    start_offset: int
    end_offset: int


class QueueGroupState(msgspec.Struct, frozen=True):
    """A group as it is described."""

    row: QueueGroup
    subscription: QueueSubscription
    in_flight: int
    leased: int
    blocked: int
    dead: int
    queues: tuple[CursorState, ...]
    unread_ms: Mapping[Wanted, int] = {}
    """For the oldest messages that are not finished, of all queues or among which the oldest of
    all is: when they were stored, at the latest."""
    now_ms: int = 0

    @property
    def behind(self) -> list[Wanted]:
        """The first message of each queue that is not finished."""
        return [
            (each.queue, Offset(each.oldest))
            for each in self.queues
            if each.oldest < each.end_offset
        ]

    @property
    def unread(self) -> int:
        """Messages that were never leased."""
        return sum(queue.end_offset - queue.next for queue in self.queues)


def state_of(machine: BrokerMachine, group: QueueGroup) -> QueueGroupState:
    """Return how a group is now; ages are left out."""
    tally = machine.leasing.flights.tally(group.number)
    topics = (machine.topics.get(name) for name in group.topics)
    queues = tuple(
        _cursor_of(machine, group, machine.queues.find(number))
        for topic in topics
        if topic is not None
        for number in topic.queues
    )
    subscription = msgspec.structs.replace(machine.leasing.subscriptions.of(group))
    return QueueGroupState(
        *(group, subscription, tally.rows, tally.leased, tally.blocked, tally.dead, queues)
    )


def _cursor_of(machine: BrokerMachine, group: QueueGroup, queue: Queue) -> CursorState:
    leasing, start = machine.leasing, queue.start_offset
    cursor = leasing.groups.cursor(group, queue.number)
    at = start if cursor is None else max(Offset(cursor.next), start)
    row = leasing.flights.oldest(group.number, queue.number)
    oldest = at if row is None else max(Offset(row.offset), start)
    return CursorState(
        *(queue.number, queue.topic, queue.place, at, oldest, start, queue.end_offset)
    )
