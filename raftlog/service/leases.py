"""Queue-style groups: made, looked at, and what their consumers say about what they hold.

Every lease is a commit, and so is its end; receiving is in ``service.receiving``.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from raftlog.base.errors import BadDelay, GroupNotFound, RaftlogError
from raftlog.base.ids import Offset
from raftlog.base.limits import RETRY_DELAY_MS_MAX
from raftlog.broker.flights import BLOCKED, Flight
from raftlog.broker.lease_commands import (
    SCHEDULE,
    AckMessages,
    DecideBlocked,
    ExtendLeases,
    ReturnMessages,
    Settled,
)
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queue_groups import QueueGroup
from raftlog.broker.queue_subscriptions import QueueSubscription, SubscribeQueueGroup, at_level
from raftlog.service.ports import ShardReplica
from raftlog.service.proposing import Reply, look, propose, when_settled

PAGE_MAX: Final = 500
IN_FLIGHT_PAGE_MAX: Final = 1_000
LOOKED_AT_MAX: Final = 10_000
"""Rows that one page looks at: a longer look would hold up heartbeats."""

Names = tuple[tuple[int, int, tuple[int, ...]], ...]
"""Leased messages: handle, queue, offsets."""


class CursorState(msgspec.Struct, frozen=True, gc=False):
    """Where a group is in a queue."""

    queue: int
    topic: str
    place: int
    next: int
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

    @property
    def unread(self) -> int:
        """Messages that were never leased."""
        return sum(queue.end_offset - queue.next for queue in self.queues)


class QueueGroupPage(msgspec.Struct, frozen=True):
    """Groups in the order of their names, and whether there are more."""

    groups: list[QueueGroupState]
    more: bool


class FlightState(msgspec.Struct, frozen=True):
    """A message in flight."""

    row: Flight
    topic: str
    place: int
    left_ms: int


class FlightPage(msgspec.Struct, frozen=True):
    """Messages in the order of their queues and offsets, and whether there are more."""

    messages: list[FlightState]
    more: bool


class LeaseService:
    """The queue-style groups of one shard."""

    def __init__(self, replica: ShardReplica, machine: BrokerMachine) -> None:
        self._replica: Final = replica
        self._machine: Final = machine

    def open(self, make: Callable[[], SubscribeQueueGroup], reply: Reply[QueueGroupState]) -> None:
        """Make a group, agree with it, or change it; asking again is harmless.

        ``BadName``, ``BadRequest`` (settings, no topic), ``BadFilter``, ``TopicNotFound``,
        ``LimitReached``, ``GroupStyle`` (it has members), ``GroupInUse`` (order, with messages in
        flight), ``SubscriptionConflict``, ``GroupNotFound`` (to replace what it reads).
        """

        def opened(outcome: QueueGroup | RaftlogError) -> None:
            reply(outcome if isinstance(outcome, RaftlogError) else self._state(outcome))

        def go_on() -> None:
            level = self._machine.feature_level
            propose(self._replica, lambda: at_level(level, make()), QueueGroup, opened)

        when_settled(self._replica, go_on, reply)

    def ack(self, make: Callable[[], AckMessages], reply: Reply[Settled]) -> None:
        """Finish messages; ``StaleLease`` if none is held any more; asking again is harmless."""
        propose(self._replica, make, Settled, reply)

    def extend(self, group: str, names: Names, lease_ms: int, reply: Reply[Settled]) -> None:
        """Let leases end only so much later than now."""
        propose(self._replica, lambda: ExtendLeases(group, names, lease_ms), Settled, reply)

    def give_back(
        self,
        group: str,
        names: Names,
        reply: Reply[Settled],
        *,
        how: int,
        delay_ms: int | None = None,
        reason: str = "",
    ) -> None:
        """End leases without finishing the messages; asking again is harmless.

        ``BadDelay`` if it is no delay.
        """
        delay = SCHEDULE if delay_ms is None else delay_ms
        if delay_ms is not None and not 0 <= delay_ms <= RETRY_DELAY_MS_MAX:
            hours = RETRY_DELAY_MS_MAX // 3_600_000
            reply(BadDelay(f"a delay of {delay_ms} ms; it is 0 ms to {hours} hours"))
            return

        def make() -> ReturnMessages:
            return ReturnMessages(group, names, how, delay, reason)

        propose(self._replica, make, Settled, reply)

    def decide(
        self, group: str, queue: int, offset: int, verdict: int, reply: Reply[Settled]
    ) -> None:
        """Let a blocked message go on; ``StaleLease`` if it is none."""
        propose(
            self._replica, lambda: DecideBlocked(group, queue, offset, verdict), Settled, reply
        )

    def describe(self, name: str, reply: Reply[QueueGroupState]) -> None:
        """Tell what holds for a group and where it is; ``GroupNotFound`` if there is none."""

        def answer() -> QueueGroupState | RaftlogError:
            group = self._machine.leasing.groups.get(name)
            return _no_group(name) if group is None else self._state(group)

        look(self._replica, answer, reply)

    def list(self, after: str, count_max: int, reply: Reply[QueueGroupPage]) -> None:
        """Tell the groups whose names come after ``after``, at most ``count_max`` (0: 500)."""
        count = min(count_max or PAGE_MAX, PAGE_MAX)

        def answer() -> QueueGroupPage:
            page: list[QueueGroupState] = []
            looked_at = 0
            found = self._machine.leasing.groups.after(after, count + 1)
            for group in found[:count]:
                if page and looked_at > LOOKED_AT_MAX:
                    break
                page.append(self._state(group))
                looked_at += len(page[-1].queues)
            return QueueGroupPage(page, len(page) < len(found))

        look(self._replica, answer, reply)

    def in_flight(
        self,
        name: str,
        after: tuple[int, int],
        count_max: int,
        reply: Reply[FlightPage],
        *,
        blocked: bool = False,
    ) -> None:
        """Tell the messages in flight behind (queue, offset) ``after``."""
        count = min(count_max or IN_FLIGHT_PAGE_MAX, IN_FLIGHT_PAGE_MAX)

        def answer() -> FlightPage | RaftlogError:
            group = self._machine.leasing.groups.get(name)
            if group is None:
                return _no_group(name)
            return self._flights(group, after, count, blocked=blocked)

        look(self._replica, answer, reply)

    def _flights(
        self, group: QueueGroup, after: tuple[int, int], count: int, *, blocked: bool
    ) -> FlightPage:
        machine = self._machine
        found: list[FlightState] = []
        rows = machine.leasing.flights.table.after((group.number, *after))
        for looked_at, row in enumerate(rows):
            if row.group != group.number:
                break
            if len(found) == count or (found and looked_at >= LOOKED_AT_MAX):
                return FlightPage(found, more=True)
            queue = machine.queues.get(row.queue)
            if queue is None or (blocked and row.handle != BLOCKED):
                continue
            left_ms = max(0, row.due_ms - machine.log_time_ms)
            found.append(FlightState(row, queue.topic, queue.place, left_ms))
        return FlightPage(found, more=False)

    def _state(self, group: QueueGroup) -> QueueGroupState:
        machine = self._machine
        tally = machine.leasing.flights.tally(group.number)
        queues = []
        for name in group.topics:
            topic = machine.topics.get(name)
            for place, number in enumerate(() if topic is None else topic.queues):
                queue = machine.queues.find(number)
                cursor = machine.leasing.groups.cursor(group, number)
                at = queue.start_offset if cursor is None else Offset(cursor.next)
                queues.append(
                    CursorState(
                        *(number, name, place, max(at, queue.start_offset)),
                        *(queue.start_offset, queue.end_offset),
                    )
                )
        subscription = msgspec.structs.replace(machine.leasing.subscriptions.of(group))
        return QueueGroupState(
            *(group, subscription, tally.rows, tally.leased, tally.blocked, tally.dead),
            tuple(queues),
        )


def _no_group(name: str) -> GroupNotFound:
    return GroupNotFound(f"there is no queue-style group {name!r}")
