"""Queue-style groups: made, looked at, and what their consumers say about what they hold.

Every lease is a commit, and so is its end; receiving is in ``service.receiving``.
"""

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Final

import msgspec

from raftlog.base.errors import BadDelay, GroupNotFound, RaftlogError, Refused
from raftlog.base.limits import RETRY_DELAY_MS_MAX
from raftlog.broker.codec import write_command
from raftlog.broker.flights import Flight
from raftlog.broker.groups import check_queue_style
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
from raftlog.broker.queue_seeks import QueueGroupSought, SeekQueueGroup
from raftlog.broker.queue_subscriptions import (
    SubscribeQueueGroup,
    at_level,
    check_queue_subscriptions_level,
)
from raftlog.service.ports import ShardReplica
from raftlog.service.proposing import Reply, look, propose, propose_checked, when_settled
from raftlog.service.queue_group_states import QueueGroupState, state_of
from raftlog.service.unread import UnreadTimes, Wanted

PAGE_MAX: Final = 500
IN_FLIGHT_PAGE_MAX: Final = 1_000
LOOKED_AT_MAX: Final = 10_000
"""Rows that one page looks at: a longer look would hold up heartbeats."""

Names = tuple[tuple[int, int, tuple[int, ...]], ...]
"""Leased messages: handle, queue, offsets."""


class QueueGroupPage(msgspec.Struct, frozen=True):
    """Groups in the order of their names, and whether there are more."""

    groups: list[QueueGroupState]
    more: bool
    now_ms: int


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

    def __init__(
        self,
        replica: ShardReplica,
        machine: BrokerMachine,
        unread: UnreadTimes,
        log_time_ms: Callable[[], int],
    ) -> None:
        self._replica: Final = replica
        self.machine: Final = machine
        self._unread: Final = unread
        self._log_time_ms: Final = log_time_ms

    def open(self, make: Callable[[], SubscribeQueueGroup], reply: Reply[QueueGroupState]) -> None:
        """Make a group, agree with it, or change it; asking again is harmless.

        ``BadName``, ``BadRequest`` (settings, no topic), ``BadFilter``, ``TopicNotFound``,
        ``LimitReached``, ``GroupStyle`` (it has members), ``GroupInUse`` (order, with messages in
        flight), ``SubscriptionConflict``, ``GroupNotFound`` (to replace what it reads).
        """

        def opened(outcome: QueueGroup | RaftlogError) -> None:
            if isinstance(outcome, RaftlogError):
                reply(outcome)
            else:
                self._tell_aged(outcome, reply)

        def go_on() -> None:
            level = self.machine.feature_level
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

    def seek(
        self, command: Callable[[], SeekQueueGroup], reply: Reply[QueueGroupSought], *, dry: bool
    ) -> None:
        """Set where a group goes on, or only tell what that would come to (``dry``).

        ``GroupNotFound``, ``WrongQueue``, ``BadRequest`` (a topic that it does not read; the
        level), ``OffsetOutOfRange``, ``LimitReached`` (too much in flight), ``GroupStyle``.
        """

        def answer() -> QueueGroupSought | RaftlogError:
            try:
                return self._plan(command())
            except Refused as error:
                return error

        if dry:
            look(self._replica, answer, reply)
        else:
            propose_checked(self._replica, command, self._check_seek, QueueGroupSought, reply)

    def _check_seek(self, command: SeekQueueGroup) -> None:
        """Raise what apply would."""
        check_queue_subscriptions_level(self.machine.feature_level)
        self._plan(command)

    def _plan(self, command: SeekQueueGroup) -> QueueGroupSought:
        write_command(command)  # what is malformed is so for a look as well
        check_queue_style(self.machine.groups, command.group)
        return self.machine.leasing.seeks.plan(command)

    def describe(self, name: str, reply: Reply[QueueGroupState]) -> None:
        """Tell what holds for a group and where it is; ``GroupNotFound`` if there is none."""

        def ready(error: RaftlogError | None) -> None:
            group = self.machine.leasing.groups.get(name)
            if error is not None:
                reply(error)
            elif group is None:
                reply(_no_group(name))
            else:
                self._tell_aged(group, reply)

        self._replica.read_index(ready)

    def _tell_aged(self, group: QueueGroup, reply: Reply[QueueGroupState]) -> None:
        """Tell how a group is, with the age of what it has not finished."""
        state, now_ms = state_of(self.machine, group), self._now_ms()

        def found(times: Mapping[Wanted, int]) -> None:
            reply(msgspec.structs.replace(state, unread_ms=times, now_ms=now_ms))

        self._unread.find(state.behind, found)

    def list(self, after: str, count_max: int, reply: Reply[QueueGroupPage]) -> None:
        """Tell the groups whose names come after ``after``, at most ``count_max`` (0: 500)."""
        count = min(count_max or PAGE_MAX, PAGE_MAX)

        def ready(error: RaftlogError | None) -> None:
            if error is not None:
                reply(error)
                return
            page: list[QueueGroupState] = []
            looked_at = 0
            groups = self.machine.leasing.groups.after(after, count + 1)
            for group in groups[:count]:
                if page and looked_at > LOOKED_AT_MAX:
                    break
                page.append(state_of(self.machine, group))
                looked_at += len(page[-1].queues)
            oldest = [self._unread.oldest(state.behind) for state in page]
            more, now_ms = len(page) < len(groups), self._now_ms()

            def found(times: Mapping[Wanted, int]) -> None:
                aged = [
                    msgspec.structs.replace(state, unread_ms={each: times[each] for each in first})
                    for state, first in zip(page, oldest, strict=True)
                ]
                reply(QueueGroupPage(aged, more, now_ms))

            self._unread.find(chain.from_iterable(oldest), found)

        self._replica.read_index(ready)

    def _now_ms(self) -> int:
        return max(self._log_time_ms(), self.machine.log_time_ms)

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
            group = self.machine.leasing.groups.get(name)
            if group is None:
                return _no_group(name)
            return self._flights(group, after, count, blocked=blocked)

        look(self._replica, answer, reply)

    def _flights(
        self, group: QueueGroup, after: tuple[int, int], count: int, *, blocked: bool
    ) -> FlightPage:
        machine = self.machine
        found: list[FlightState] = []
        flights = machine.leasing.flights
        rows = flights.of_group(group.number, after)
        if blocked:
            keys = flights.blocked.after(group.number, after)
            rows = (flights.table.rows[key] for key in keys)
        for looked_at, row in enumerate(rows):
            if len(found) == count or (found and looked_at >= LOOKED_AT_MAX):
                return FlightPage(found, more=True)
            queue = machine.queues.get(row.queue)
            if queue is None:
                continue
            left_ms = max(0, row.due_ms - machine.log_time_ms)
            found.append(FlightState(row, queue.topic, queue.place, left_ms))
        return FlightPage(found, more=False)


def _no_group(name: str) -> GroupNotFound:
    return GroupNotFound(f"there is no queue-style group {name!r}")
