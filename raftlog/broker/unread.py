"""What queue-style groups never leased: behind their cursors, in the queues of their topics."""

from collections.abc import Iterator
from typing import Final

from raftlog.base.ids import Offset
from raftlog.broker.queue_groups import QueueGroup, QueueGroups
from raftlog.broker.queues import Queue, Queues
from raftlog.broker.topics import Topics


class Unread:
    """Looks for it, and moves cursors over it."""

    def __init__(self, groups: QueueGroups, topics: Topics, queues: Queues) -> None:
        self._groups: Final = groups
        self._topics: Final = topics
        self._queues: Final = queues

    def queues(self, group: QueueGroup) -> Iterator[tuple[Queue, int]]:
        """Yield the queues that have what the group never leased, and from where on.

        Each time another one comes first.
        """
        numbers = [
            number
            for name in group.topics
            if (topic := self._topics.get(name)) is not None and topic.settings.readable
            for number in topic.queues
        ]
        first = group.turn % len(numbers) if numbers else 0
        for number in numbers[first:] + numbers[:first]:
            queue = self._queues.get(number)
            assert queue is not None, f"queue {number} of no topic"
            cursor = self._groups.cursor(group, number)
            at = (
                queue.start_offset
                if cursor is None
                else Offset(max(cursor.next, queue.start_offset))
            )
            if at < queue.end_offset:
                yield queue, at

    def move(self, group: QueueGroup, queue: Queue, at: int, to: int) -> None:
        """Go on at ``to`` instead of ``at``: what lies between is leased, parked or passed over.

        A seek may also go back. ``at`` is where ``queues`` says that the group is.
        """
        cursor = self._groups.cursor(group, queue.number)
        if cursor is None:
            cursor = self._groups.begin(group, queue, queue.start_offset)
        elif cursor.next < at:  # retention was faster than the group
            group.expired += at - cursor.next
        self._groups.cursors.touch((group.number, queue.number))
        cursor.next = to
