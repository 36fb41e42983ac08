"""Queues that forget what was read: nothing goes before the archive asked for it to go.

Whoever reads all of them from the beginning and commits as it goes is the archive; the topics
keep their records until they are consumed, so what it has not read is there. Gone: the queue
begins behind what the archive has, or ends before it. Changed: it was handed another record at an
offset where it has one already.
"""

from collections.abc import Mapping
from typing import Final

from chaos.check.violation import Violation

NAME: Final = "whole_queues"


class WholeQueues:
    """What the archive has of every queue, from offset 0 on.

    Args:
        topics: Every topic, and how many queues it has.
    """

    def __init__(self, topics: Mapping[str, int]) -> None:
        self.logs: Final[dict[str, dict[int, list[bytes]]]] = {
            topic: {queue: [] for queue in range(queues)} for topic, queues in topics.items()
        }
        """By topic, by queue: the values from offset 0 on."""
        self.count = 0

    def take(self, topic: str, queue: int, offset: int, value: bytes) -> None:
        """It was handed this, for the first time or once more.

        Raises:
            Violation: There is a hole before it, or there was something else.
        """
        log = self.logs[topic][queue]
        self.begins(topic, queue, offset)
        if offset == len(log):
            log.append(value)
            self.count += 1
        elif log[offset] != value:
            text = f"{topic}/{queue}, offset {offset}: first {log[offset]!r}, then {value!r}"
            raise Violation(NAME, text)

    def begins(self, topic: str, queue: int, offset: int) -> None:
        """Somebody was told that the queue begins there, or was handed this as the next.

        Raises:
            Violation: The archive has not come to it.
        """
        log = self.logs[topic][queue]
        if offset > len(log):
            text = f"{topic}/{queue}: {offset} follows {len(log) - 1}, which is all that was read"
            raise Violation(NAME, text)

    def ends(self, topic: str, queue: int, offset: int) -> None:
        """Everything was read, and the queue ends there.

        Raises:
            Violation: The archive has more, or less.
        """
        log = self.logs[topic][queue]
        if offset != len(log):
            text = f"{topic}/{queue} ends at {offset}, and {len(log)} records were read of it"
            raise Violation(NAME, text)
