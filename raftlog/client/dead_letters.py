"""Dead letters of queue-style groups: see them, and send them to their topics again.

::

    %DLQ%work --leased by "resend.work"--> sent to its topic, by the letter's own id --> acked

What was sent again is what that group has finished, so whoever goes on after a resend that was
interrupted sends the rest. Between the send and the ack a letter may be sent twice; its id then
makes one record of the two, as long as the topic remembers ids.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing, suppress
from typing import Final

import msgspec

from raftlog.base.errors import (
    BadRequest,
    GroupNotFound,
    RaftlogError,
    Refused,
    StaleLease,
    TopicNotFound,
)
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog
from raftlog.client.durations import moment_of
from raftlog.client.producer import Producer
from raftlog.client.queue_consumer import QueueConsumer
from raftlog.client.queue_groups import QueueGroups
from raftlog.client.queue_message import QueueMessage
from raftlog.client.queue_options import opening_of
from raftlog.client.reader import Reader
from raftlog.client.receipts import Message
from raftlog.wire.batch import Headers, Record

PREFIX: Final = "%DLQ%"
RESENDER: Final = "resend."
"""What the name of the group begins with that marks what was sent again."""
RESENT: Final = "dead-letter-resent"
"""The header of a record that was sent again: the offset of its letter."""
FACTS: Final = frozenset(
    f"dead-letter-{name}" for name in ("group", "topic", "queue", "offset", "attempts", "reason")
)
CHUNK: Final = 100
BUFFER_BYTES: Final = 16 << 20
LEASE_S: Final = 120.0
FRESH_S: Final = 60.0
"""A letter whose lease is older than this is not sent: somebody else might, meanwhile."""
ATTEMPTS: Final = 1_000
FAILURES_MAX: Final = 100


class DeadLetter(msgspec.Struct, frozen=True):
    """A message whose attempts were used up, or that was rejected.

    Attributes:
        message: The record of the dead-letter topic, its headers as they were before.
        group: Whose attempts they were.
        topic: Where it came from; "" if the letter has no room to say so.
        queue: The place of its queue there.
        offset: Its position there.
        attempts: How often it was leased.
        reason: Why it came back last.
        is_resent: Whether it was sent again.
    """

    message: Message
    group: str
    topic: str
    queue: int
    offset: int
    attempts: int
    reason: str
    is_resent: bool


class Unsent(msgspec.Struct, frozen=True):
    """A letter that could not be sent again, and stays: its offset, and why."""

    offset: int
    error: RaftlogError


class Resent(msgspec.Struct, frozen=True):
    """What a resend has done.

    Attributes:
        count: Letters that are in their topics again.
        duplicates: Of these, sent before by a resend that was interrupted.
        failed: Letters that could not be sent, and stay.
    """

    count: int
    duplicates: int
    failed: tuple[Unsent, ...]


class DeadLetters:
    """The dead letters of a cluster's queue-style groups: ``client.dead_letters``."""

    def __init__(self, asker: Asker, catalog: Catalog, groups: QueueGroups) -> None:
        self._asker = asker
        self._catalog = catalog
        self._groups = groups

    async def list(
        self, group: str, *, pending: bool = False, limit: int = 1_000
    ) -> "list[DeadLetter]":
        """Return the dead letters of a group that are still kept, oldest first.

        Args:
            group: The group.
            pending: Only those that were not sent again.
            limit: So many at most.

        Raises:
            GroupNotFound: There is neither such a queue-style group, nor a letter of one.
            Unavailable: No leader within the client's timeout.
        """
        found: list[DeadLetter] = []
        walking = walk(self._asker, self._catalog, self._groups, group, pending=pending)
        async with aclosing(walking):
            async for letter in walking:
                found.append(letter)
                if len(found) >= limit:
                    break
        return found

    async def resend(
        self,
        group: str,
        *,
        topic: str = "",
        limit: int = 1_000,
        on_progress: Callable[[int], None] | None = None,
    ) -> Resent:
        """Send dead letters to their topics again, each once; safe to repeat.

        What was interrupted is repeated; after a crash the letters that were under way are free
        again within two minutes. In a topic that remembers ids for longer than until then (ten
        minutes, unless it was told otherwise) no letter is stored twice.

        Args:
            group: The group.
            topic: Send all of them to this topic; "": each to that which it came from.
            limit: So many at most.
            on_progress: Told how many were sent, now and then.

        Raises:
            GroupNotFound: There is neither such a queue-style group, nor a letter of one.
            BadName: The group's name leaves no room for "resend." before it.
            Unavailable: No leader within the client's timeout.
            OutcomeUnknown: Some may have been sent: repeat it.

        A letter that its topic refuses (``TopicNotFound``, ``NotPermitted``, ...) is in
        ``failed`` and stays; after 100 of these the run ends.
        """
        try:
            opening = opening_of(
                RESENDER + group,
                PREFIX + group,
                {"lease": LEASE_S, "attempts": ATTEMPTS, "retry": [0], "on_poison": "block"},
            )
            consumer = QueueConsumer(self._asker, opening, limit=None, on_event=None)
            async with consumer, Producer(self._asker, self._catalog) as producer:
                run = _Run(consumer, producer, group, topic)
                await run.work(limit, on_progress)
                return run.result
        except TopicNotFound:
            await self._groups.describe(group)  # says so if there is no such group
            return Resent(0, 0, ())


async def walk(
    asker: Asker,
    catalog: Catalog,
    groups: QueueGroups,
    group: str,
    *,
    pending: bool = False,
    after: int | None = None,
) -> AsyncGenerator[DeadLetter]:
    """Yield the dead letters of a group, as ``DeadLetters.list`` returns them.

    Args:
        asker: Asks the leader of the shard.
        catalog: Of the same.
        groups: Of the same.
        group: The group.
        pending: Only those that were not sent again.
        after: Only those behind this letter, by its own offset.

    Raises:
        GroupNotFound, Unavailable: As ``DeadLetters.list``.
    """
    finished = await _finished(groups, group)
    reader = Reader(
        asker,
        catalog,
        PREFIX + group,
        queue=None,
        start="earliest" if after is None else after + 1,
        follow=False,
        on_lost="skip",
        buffer_bytes=BUFFER_BYTES,
    )
    try:
        async with reader:
            async for message in reader:
                letter = letter_of(message, group, is_resent=finished(message.offset))
                if not (pending and letter.is_resent):
                    yield letter
    except TopicNotFound:
        await groups.describe(group)  # says so if there is no such group


async def _finished(groups: QueueGroups, group: str) -> Callable[[int], bool]:
    """Return what tells whether a letter was sent again, by its offset."""
    name = RESENDER + group
    try:
        described = await groups.describe(name)
        flights = await groups.in_flight(name, limit=100_000)
    except GroupNotFound:
        return lambda _offset: False
    through = max((each.next_offset for each in described.queues), default=0)
    waiting = {each.offset for each in flights}
    return lambda offset: offset < through and offset not in waiting


class _Run:
    """One resend."""

    def __init__(
        self, consumer: QueueConsumer, producer: Producer, group: str, topic: str
    ) -> None:
        self._consumer: Final = consumer
        self._producer: Final = producer
        self._group: Final = group
        self._topic: Final = topic
        self._loop: Final = asyncio.get_running_loop()
        self._failed: Final[dict[int, RaftlogError]] = {}
        self._kept: Final[list[QueueMessage]] = []
        """Letters that stay: held until the end, so that nobody gets them once more."""
        self._count = self._duplicates = 0

    @property
    def result(self) -> Resent:
        """What was done."""
        failed = tuple(Unsent(offset, error) for offset, error in self._failed.items())
        return Resent(self._count, self._duplicates, failed)

    async def work(self, limit: int, on_progress: Callable[[int], None] | None) -> None:
        """Send until nothing is left, or enough was."""
        try:
            while (left := limit - self._count - len(self._failed)) > 0:
                if len(self._failed) >= FAILURES_MAX:
                    break
                began = self._loop.time()
                letters = await self._consumer.receive(min(left, CHUNK), wait=0)
                if not letters:
                    break
                done = await asyncio.gather(
                    *(self._resend(each, began) for each in letters), return_exceptions=True
                )
                for outcome in done:
                    if isinstance(outcome, BaseException):
                        raise outcome
                if on_progress is not None:
                    on_progress(self._count)
        finally:
            await asyncio.gather(*(each.release() for each in self._kept), return_exceptions=True)

    async def _resend(self, letter: QueueMessage, began: float) -> None:
        if self._loop.time() - began > FRESH_S:  # this process stood still
            self._kept.append(letter)
            return
        try:
            was_there = await self._send(letter)
        except Refused as error:
            self._failed[letter.offset] = error
            self._kept.append(letter)
            return
        except RaftlogError:
            self._kept.append(letter)
            raise
        with suppress(StaleLease):  # then whoever has it sends it by the same id
            await letter.ack()
        self._count += 1
        self._duplicates += was_there

    async def _send(self, letter: QueueMessage) -> bool:
        """Send one again; return whether it was there already."""
        topic, record = copy_of(letter.message, self._group, letter.held.queue)
        topic = self._topic or topic
        if not topic:
            raise BadRequest(
                f"letter {letter.offset} has no room to say which topic it came from; name one"
            )
        try:
            moment = moment_of(record.timestamp_ms)
        except (ValueError, OverflowError, OSError):
            # Any number is a record's time, and some are no moment that Python can name.
            batch = await self._producer.send_batch(topic, [record], key=record.key)
            return batch.duplicate
        receipt = await self._producer.send(
            topic,
            record.value,
            key=record.key,
            headers=record.headers,
            tag=record.tag,
            timestamp=moment,
            id=record.id,
        )
        return receipt.duplicate


def copy_of(letter: Message, group: str, queue: int) -> tuple[str, Record]:
    """Return where a letter is to be sent again ("": it does not say), and the record to send.

    Args:
        letter: The record of the dead-letter topic.
        group: Whose letter it is.
        queue: The number of the queue that it lies in.
    """
    found = letter_of(letter, group, is_resent=False)
    message = found.message
    record = Record(
        message.value,
        message.key,
        (*_without(message.headers, {RESENT}), (RESENT, b"%d" % message.offset)),
        message.timestamp_ms,
        message.tag,
        id_of_copy(queue, message.offset),
    )
    return found.topic, record


def id_of_copy(queue: int, offset: int) -> str:
    """Return the id that a letter is sent again with, by the number of its queue.

    A queue has its number for ever, so no other letter has this id.
    """
    return f"dead-letter:{queue}:{offset}"


def letter_of(message: Message, group: str, *, is_resent: bool) -> DeadLetter:
    """Read what a record of a dead-letter topic says about itself."""
    facts = {name: value for name, value in message.headers if name in FACTS}

    def text(name: str) -> str:
        return facts.get(f"dead-letter-{name}", b"").decode(errors="replace")

    def number(name: str) -> int:
        digits = text(name)
        return int(digits) if digits.isdecimal() else 0

    record = msgspec.structs.replace(message, headers=_without(message.headers, FACTS))
    return DeadLetter(
        *(record, text("group") or group, text("topic"), number("queue"), number("offset")),
        *(number("attempts"), text("reason"), is_resent),
    )


def _without(headers: Headers, names: Collection[str]) -> Headers:
    return tuple(header for header in headers if header[0] not in names)
