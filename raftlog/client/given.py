"""What a thread has of a stream-style consumer: messages cross by the hundred, given one by one.

::

    waiting     came from the loop, and was not given yet: neither handed out nor finished
    given       since the thread has asked last
    finished    before that: of each queue the last one, until it is committed
    withdrawn   given since the thread has asked last, and no part of any commit: it comes again

What is withdrawn is remembered until the thread asks for more: whoever tries the same again
without asking works on what will be given once more, and that must be refused.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from raftlog.client.receipts import Message

Place = tuple[str, int]
"""A topic, and the place of a queue in it."""


class Given:
    """The messages of one consumer in its thread."""

    def __init__(self) -> None:
        self.waiting: deque[Message] = deque()
        self.finished: Final[dict[Place, Message]] = {}
        self._given: list[Message] = []
        self._withdrawn: list[Message] = []

    def next(self) -> Message:
        """Give the next one that waits."""
        message = self.waiting.popleft()
        self._given.append(message)
        return message

    def take(self, count: int) -> list[Message]:
        """Give up to so many of those that wait."""
        return [self.next() for _ in range(min(count, len(self.waiting)))]

    def finish(self) -> None:
        """The thread asks for more: what it was given is finished."""
        for message in self._given:
            self.finished[message.topic, message.queue] = message
        self._given.clear()
        self._withdrawn.clear()

    def last(self) -> list[Message]:
        """Return what is to be committed: of each queue the last one that was given."""
        last = dict(self.finished)
        last.update({(each.topic, each.queue): each for each in self._given})
        return list(last.values())

    def to_finish(self) -> list[Message]:
        """Return the same for a transaction, which what was withdrawn refuses."""
        return [*self._withdrawn, *self.last()]

    def committed(self, offsets: Mapping[Place, int]) -> None:
        """Queues are committed up to these offsets."""
        for place, offset in offsets.items():
            finished = self.finished.get(place)
            if finished is not None and finished.offset < offset:
                del self.finished[place]
        self._given = [
            each for each in self._given if each.offset >= offsets.get((each.topic, each.queue), 0)
        ]

    def refused(self, message: Message) -> None:
        """The commit of the last message of a queue was, and the thread is told so."""
        place = (message.topic, message.queue)
        self.finished.pop(place, None)
        self._given = [each for each in self._given if (each.topic, each.queue) != place]
        self._withdrawn.append(message)

    def went_back(self, places: Iterable[Place]) -> None:
        """Queues are read again, or lost: what is here of them comes again, or is refused."""
        again = frozenset(places)
        for place in again:
            self.finished.pop(place, None)
        kept: list[Message] = []
        for each in self._given:
            (self._withdrawn if (each.topic, each.queue) in again else kept).append(each)
        self._given = kept
        waiting = [each for each in self.waiting if (each.topic, each.queue) not in again]
        self.waiting = deque(waiting)
