"""Where reading begins: a start as users say it becomes an offset for each queue."""

import asyncio
import time
from datetime import datetime, timedelta
from typing import Final, Literal

from raftlog.base.errors import WrongQueue
from raftlog.client.asking import Asker
from raftlog.client.durations import unix_ms
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, topics

Start = Literal["earliest", "latest"] | int | datetime | timedelta
"""The first or the next record, an offset, or the first record stored at a time or later."""
_MS: Final = timedelta(milliseconds=1)
_OFFSETS: Final = 1 << 63


def check_start(start: Start) -> None:
    """Refuse what is no start.

    Raises:
        ValueError: A word that is none, an offset below 0 or that no queue can have, a datetime
            without a time zone.
        TypeError: Something else.
    """
    if isinstance(start, bool) or not isinstance(start, str | int | datetime | timedelta):
        raise TypeError(f"{start!r} is no start; give a word, an offset, a time or a timedelta")
    if isinstance(start, str) and start not in ("earliest", "latest"):
        raise ValueError(f"no start is named {start!r}; there are 'earliest' and 'latest'")
    if isinstance(start, int) and not 0 <= start < _OFFSETS:
        raise ValueError(f"offset {start} is below 0, or beyond what a queue can have")
    if isinstance(start, datetime):
        unix_ms(start)


def start_ms(start: datetime | timedelta) -> int:
    """Return the milliseconds since 1970 that a time is, or a time from now; 0 or more.

    Raises:
        ValueError: A datetime without a time zone.
        TypeError: It is neither.
    """
    if isinstance(start, timedelta):
        return max(0, time.time_ns() // 1_000_000 + start // _MS)
    if isinstance(start, datetime):
        return max(0, unix_ms(start))
    raise TypeError(f"{start!r} is no time; give a datetime or a timedelta")


async def start_offsets(
    asker: Asker,
    topic: str,
    start: Start,
    *,
    queue: int | None = None,
    timeout_s: float | None = None,
) -> dict[int, tuple[int, int]]:
    """Return number and offset of each queue of ``topic`` (or of one), by its place.

    Raises:
        TopicNotFound: There is no such topic.
        WrongQueue: It has no such place.
    """
    described = await described_queues(asker, topic, queue, timeout_s)
    if isinstance(start, str):
        return {
            place: (each.queue, each.start_offset if start == "earliest" else each.end_offset)
            for place, each in described.items()
        }
    if isinstance(start, int):
        return {place: (each.queue, start) for place, each in described.items()}
    moment_ms = start_ms(start)

    async def find(number: int) -> int:
        answer, _ = await asker.ask(
            Method.FIND_OFFSET,
            client.FindOffset(queue=number, log_time_ms=moment_ms),
            client.OffsetFound,
            timeout_s=timeout_s,
        )
        return answer.offset

    found = await asyncio.gather(*(find(each.queue) for each in described.values()))
    return {
        place: (each.queue, offset)
        for (place, each), offset in zip(described.items(), found, strict=True)
    }


async def described_queues(
    asker: Asker, topic: str, queue: int | None = None, timeout_s: float | None = None
) -> dict[int, topics.TopicQueue]:
    """Return the queues of a topic (or one of them) as they are now, by place; raises likewise."""
    answer, _ = await asker.ask(
        Method.TOPIC_DESCRIBE,
        topics.DescribeTopic(name=topic),
        topics.TopicDescription,
        timeout_s=timeout_s,
    )
    described = dict(enumerate(answer.queues))
    if queue is None:
        return described
    if queue not in described:
        raise no_queue(topic, len(described), queue)
    return {queue: described[queue]}


def no_queue(topic: str, queues: int, place: int | None) -> WrongQueue:
    """Return what a place is answered with that the topic does not have."""
    return WrongQueue(f"topic {topic!r} has no queue {place}; it has {queues}, counted from 0")
