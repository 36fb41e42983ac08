"""The topics of a run: what they are, how they begin, and how they are read in the end."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from chaos.check.client_history import PADDING
from chaos.check.violation import Violation
from chaos.check.whole_queues import NAME, WholeQueues
from raftlog.base.errors import OffsetOutOfRange
from raftlog.client.client import Client
from raftlog.client.receipts import Message

ORDERS: Final = "orders"
NOTES: Final = "notes"
REMINDERS: Final = "reminders"
PAYMENTS: Final = "payments"
JOBS: Final = "jobs"
ERRANDS: Final = "errands"
CHORES: Final = "chores"
REPAIRS: Final = "repairs"
TRANSFERS: Final = "transfers"
ENTRIES: Final = "entries"
SUMS: Final = "sums"
TALLIES: Final = "tallies"
LEDGER: Final = "ledger"
BULK: Final = "bulk"
TOPICS: Final = {
    ORDERS: 4,
    NOTES: 2,
    REMINDERS: 2,
    PAYMENTS: 2,
    JOBS: 2,
    ERRANDS: 1,
    CHORES: 1,
    REPAIRS: 1,
    TRANSFERS: 2,
    ENTRIES: 2,
    SUMS: 2,
    TALLIES: 2,
    LEDGER: 2,
    BULK: 1,
}
"""Every topic of a run, and how many queues it has."""
ARCHIVE: Final = "archive"
"""The group that reads all of them, so that they forget what it and every other group has."""
RETENTION_S: Final = 7 * 24 * 3600
"""What nobody has consumed is there for longer than any run."""
ID_WINDOW_S: Final = 7 * 24 * 3600
"""How long ids are remembered: longer than any run."""
READ_S: Final = 90.0
FILLED: Final = 64 << 10
"""Bytes of a large record."""
FILLER: Final = b"."


def large(value: bytes) -> bytes:
    """Return a value of ``FILLED`` bytes for a short one."""
    return value + FILLER * (FILLED - len(value))


def short(value: bytes) -> bytes:
    """Return what ``large`` made this of, and what it did not make as it is."""
    head = value[: value.rfind(b" ") + 1 + PADDING]
    return head if large(head) == value else value


def kept(message: Message) -> bytes:
    """Return what is kept of a message to be compared: its value, without the filler."""
    value = bytes(message.value or b"")
    return short(value) if message.topic == BULK else value


async def create_topics(client: Client) -> None:
    """Create every topic, and hold its records for the archive from the first one on."""
    for topic, queues in TOPICS.items():
        await client.topics.create(
            *(topic,),
            queues=queues,
            retention=RETENTION_S,
            until_consumed=True,
            id_window=ID_WINDOW_S,
        )
    async with client.consumer(ARCHIVE, list(TOPICS)):
        for topic in TOPICS:
            await client.groups.seek(ARCHIVE, topic, to="earliest")


async def read_rest(
    client: Client, archived: WholeQueues, saw: Callable[[str, str], None]
) -> None:
    """Read what is there of every queue, to its end: what the archive has, and what it lacks.

    ``saw`` is told, once for each queue, that an offset is missing, comes twice, or has another
    record now, or that the queue ends before what was read of it. The others are read on.

    Raises:
        TimeoutError: It could not be read in time.
    """
    async with asyncio.timeout(READ_S):
        for topic in TOPICS:
            broken: dict[int, Violation] = {}
            while not await _is_read(client, topic, archived, broken):
                pass
            for place, queue in enumerate((await client.topics.describe(topic)).queues):
                if place not in broken:
                    with _noted(broken, place):
                        archived.ends(topic, place, queue.end_offset)
            for violation in broken.values():
                saw(NAME, str(violation))


async def _is_read(
    client: Client, topic: str, archived: WholeQueues, broken: dict[int, Violation]
) -> bool:
    """Read a topic from where it begins now; return False if its beginning has moved meanwhile."""
    expected: dict[int, int] = {}
    try:
        async with client.reader(topic, follow=False) as reader:
            async for message in reader:
                if message.queue in broken:
                    continue
                offset = expected.setdefault(message.queue, message.offset)
                with _noted(broken, message.queue):
                    if message.offset != offset:
                        where = f"{topic}/{message.queue}"
                        raise Violation(NAME, f"{where}: {message.offset} instead of {offset}")
                    archived.take(topic, message.queue, offset, kept(message))
                expected[message.queue] = offset + 1
    except OffsetOutOfRange:
        return False
    return True


@contextmanager
def _noted(broken: dict[int, Violation], queue: int) -> Iterator[None]:
    """What is wrong with a queue is told, and does not end the reading of the others."""
    try:
        yield
    except Violation as violation:
        broken[queue] = violation
