"""Opening queue-style groups: they are made, agreed with, changed, and begin to read."""

from collections.abc import Iterable, Sequence
from typing import Final

from raftlog.base.errors import GroupNotFound
from raftlog.broker.flights import Flights
from raftlog.broker.queue_groups import OpenQueueGroup, QueueGroup, QueueGroups
from raftlog.broker.queue_subscriptions import (
    By,
    QueueSubscriptions,
    SubscribeQueueGroup,
    plain,
)
from raftlog.broker.queues import Queue, Queues
from raftlog.broker.topics import Topics


class Opening:
    """Opens the groups of one shard."""

    def __init__(
        self,
        groups: QueueGroups,
        subscriptions: QueueSubscriptions,
        flights: Flights,
        topics: Topics,
        queues: Queues,
    ) -> None:
        self._groups: Final = groups
        self._subscriptions: Final = subscriptions
        self._flights: Final = flights
        self._topics: Final = topics
        self._queues: Final = queues

    def open(self, command: OpenQueueGroup, number: int) -> QueueGroup:
        """Make a group, or change it: topics are added. Up to level 3 that was all.

        Raises:
            TopicNotFound: It names a topic that does not exist.
            LimitReached: Too many groups, topics or queues.
            GroupInUse: What is in flight has no order yet, or another one.
            BadRequest: A new group without a topic.
        """
        before = self._groups.get(command.group)
        self._groups.check_room(command, self._in_flight(before))
        known = () if before is None else before.topics
        unread = self._unread(before, command.topics)
        group = self._groups.open(command, number)
        self._begin(group, unread, known, from_end=command.from_end)
        return group

    def subscribe(self, command: SubscribeQueueGroup, number: int) -> QueueGroup:
        """Make a group, agree with it, or change it.

        Raises:
            SubscriptionConflict: It reads something else, which is not for this one to change.
            GroupNotFound: There is none of which this could be replaced.
            TopicNotFound, LimitReached, GroupInUse, BadRequest: As ``open``.
        """
        group = self._groups.get(command.group)
        if group is None:
            if command.by == By.REPLACE:
                raise GroupNotFound(f"there is no queue-style group {command.group!r}")
            group = self.open(plain(command), number)
            self._subscriptions.begin(group, command)
            return group
        for name in command.topics:
            self._topics.find(name)
        known, reads = group.topics, self._subscriptions.another(group, command)
        topics = known if reads is None else reads.topics
        unread = self._unread(group, (name for name in topics if self._topics.get(name)))
        if reads is not None:
            self._groups.check_change(group, topics, reads.settings, self._in_flight(group))
            self._groups.change(group, topics, reads.settings)
        self._subscriptions.note(group, command, reads)
        self._begin(group, unread, known, from_end=command.from_end)
        return group

    def _in_flight(self, group: QueueGroup | None) -> int:
        return 0 if group is None else self._flights.tally(group.number).rows

    def _unread(self, group: QueueGroup | None, topics: Iterable[str]) -> list[Queue]:
        """Return the queues of some topics that a group has not begun.

        Raises:
            TopicNotFound: There is no such topic.
            LimitReached: It may not begin so many.
        """
        queues = [
            self._queues.find(number)
            for name in sorted(topics)
            for number in self._topics.find(name).queues
        ]
        unread = [
            queue
            for queue in queues
            if group is None or self._groups.cursor(group, queue.number) is None
        ]
        self._groups.check_cursors(len(unread))
        return unread

    def _begin(
        self, group: QueueGroup, unread: Sequence[Queue], known: Sequence[str], *, from_end: bool
    ) -> None:
        for queue in unread:
            # A queue that was added to a topic which is read already was always meant.
            skips = from_end and queue.topic not in known
            self._groups.begin(group, queue, queue.end_offset if skips else queue.start_offset)
