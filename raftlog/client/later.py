"""Messages that become visible later: when, the receipt with its handle, cancelling, listing.

::

    receipt = await client.send_later("orders", b"pay or lose it", delay=timedelta(minutes=30))
    ...
    how = await client.delayed.cancel(receipt.handle)     # paid: CANCELLED, or DELIVERED already
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

import msgspec

from raftlog.base.errors import BadDelay, BadRequest
from raftlog.base.ids import Index, Term
from raftlog.base.limits import DELAY_MS_MAX
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog
from raftlog.client.durations import Duration, moment_of, seconds, unix_ms
from raftlog.wire.frame import Method
from raftlog.wire.schema import delays

_LEVELS: Final = (
    *("1s", "5s", "10s", "30s", "1m", "2m", "3m", "4m", "5m"),
    *("6m", "7m", "8m", "9m", "10m", "20m", "30m", "1h", "2h"),
)
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600}
DELAY_LEVELS: Final[Mapping[str, timedelta]] = {
    name: timedelta(seconds=int(name[:-1]) * _UNIT_S[name[-1]]) for name in _LEVELS
}
"""The 18 delay levels of RocketMQ, by name, in the order of their numbers from 1 on."""

DelayLike = timedelta | float | str
"""A timedelta, seconds, or the name of a level."""
PAGE: Final = 1_000


class CancelOutcome(Enum):
    """What came of a wish to cancel a delayed message."""

    CANCELLED = "cancelled"
    """It will never be visible. Asked again, the answer is the same."""
    DELIVERED = "delivered"
    """It is visible already."""
    UNKNOWN = "unknown"
    """There never was such a message, or it was due more than an hour ago."""


class DelayedReceipt(msgspec.Struct, frozen=True, gc=False):
    """A message is stored, and becomes visible later.

    Attributes:
        topic: Its topic.
        queue: The place of its queue in the topic, from 0.
        handle: What it is cancelled by; a text that may be kept anywhere.
        due_ms: When it becomes visible, in milliseconds since 1970, not before.
        term: Of the leader that stored it.
        index: Of the log entry that holds it.
        durability: As of a ``Receipt``.
        duplicate: As of a ``Receipt``.
    """

    topic: str
    queue: int
    handle: str
    due_ms: int
    term: Term
    index: Index
    durability: str
    duplicate: bool = False

    @property
    def due(self) -> datetime:
        """When it becomes visible."""
        return moment_of(self.due_ms)


class PendingMessage(msgspec.Struct, frozen=True, gc=False):
    """A delayed message that is not visible yet, or a batch of ``records`` of them."""

    topic: str
    queue: int
    handle: str
    due_ms: int
    records: int
    bytes: int

    @property
    def due(self) -> datetime:
        """When it becomes visible."""
        return moment_of(self.due_ms)


class Later(msgspec.Struct, frozen=True, gc=False):
    """When a message is to become visible: so long after it was stored, or at a time."""

    ms: int
    relative: bool

    def header(self, queue: int, client: str = "") -> bytes:
        """Return the header of the request of ``client`` that appends to a queue."""
        message = delays.AppendDelayed(queue=queue, client=client)
        if self.relative:
            message.delay_ms = self.ms
        else:
            message.deliver_at_ms = self.ms
        return message.SerializeToString()


def later(delay: DelayLike | None, deliver_at: datetime | None) -> Later:
    """Return what a user means.

    Raises:
        BadDelay: A delay that is negative or more than 40 days, or no name of a level.
        BadRequest: Both are given, or neither.
        ValueError: The datetime has no time zone.
    """
    if (delay is None) == (deliver_at is None):
        raise BadRequest("give a delay or a time of delivery, one of them")
    if deliver_at is not None:
        return Later(unix_ms(deliver_at), relative=False)
    if isinstance(delay, str):
        level = DELAY_LEVELS.get(delay)
        if level is None:
            raise BadDelay(f"no delay level {delay!r}; there are {', '.join(DELAY_LEVELS)}")
        delay = level
    assert delay is not None, "just looked at"
    value = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
    if not 0 <= value * 1000 <= DELAY_MS_MAX:
        raise BadDelay(f"a delay of {value:g} s; it is 0 s to {DELAY_MS_MAX // 86_400_000} days")
    return Later(round(value * 1000), relative=True)


def handle_of(queue: int, id_: int, due_ms: int) -> str:
    """Return the text that names a delayed message."""
    return f"{queue}.{id_}.{due_ms}"


def parse_handle(handle: str) -> tuple[int, int, int]:
    """Return queue, id and due time.

    Raises:
        BadRequest: It is no handle.
    """
    parts = handle.split(".")
    if len(parts) == 3 and all(part.isascii() and part.isdigit() for part in parts):
        queue, id_, due_ms = map(int, parts)
        if queue < 1 << 32 and id_ < 1 << 63 and due_ms < 1 << 63:
            return queue, id_, due_ms
    raise BadRequest(f"{handle!r} is no handle of a delayed message; its receipt has one")


class DelayedMessages:
    """The delayed messages of a cluster: ``client.delayed``.

    Every method raises ``Unavailable`` when there is no leader within its timeout.
    """

    def __init__(self, asker: Asker, catalog: Catalog) -> None:
        self._asker = asker
        self._catalog = catalog

    async def cancel(
        self, handle: str | DelayedReceipt, *, timeout: Duration | None = None
    ) -> CancelOutcome:
        """Cancel a delayed message; it may be asked again, and has the same answer.

        Args:
            handle: Of its receipt, or the receipt itself.
            timeout: Seconds for all of it.

        Raises:
            BadRequest: It is no handle.
            WrongQueue: Its topic was deleted, and the message with it.
            OutcomeUnknown: Nobody answered in time; ask again.
        """
        text = handle.handle if isinstance(handle, DelayedReceipt) else handle
        queue, id_, due_ms = parse_handle(text)
        answer, _ = await self._asker.ask(
            Method.DELAYED_CANCEL,
            delays.CancelDelayed(queue=queue, id=id_, due_ms=due_ms),
            delays.DelayedCancelled,
            timeout_s=None if timeout is None else seconds(timeout),
            repeats=True,
        )
        return _HOW.get(answer.how, CancelOutcome.UNKNOWN)

    async def list(
        self, topic: str, *, limit: int = PAGE, timeout: Duration | None = None
    ) -> "list[PendingMessage]":
        """Return what is pending in a topic: queue by queue, in the order of sending.

        Args:
            topic: The topic.
            limit: So many at most.
            timeout: Seconds for each question that it takes.

        Raises:
            TopicNotFound: There is no such topic.
        """
        timeout_s = self._asker.timeout_s if timeout is None else seconds(timeout)
        queues = await self._catalog.refresh(topic, timeout_s)
        found: list[PendingMessage] = []
        for place, number in enumerate(queues):
            after, more = 0, True
            while more and len(found) < limit:
                answer, _ = await self._asker.ask(
                    Method.DELAYED_LIST,
                    delays.ListDelayed(
                        queue=number, after=after, count_max=min(PAGE, limit - len(found))
                    ),
                    delays.DelayedListed,
                    timeout_s=timeout_s,
                )
                for each in answer.batches:
                    after = each.id
                    handle = handle_of(number, each.id, each.due_ms)
                    found.append(
                        PendingMessage(topic, place, handle, each.due_ms, each.records, each.bytes)
                    )
                more = answer.more and bool(answer.batches)
        return found


_HOW: Final[Mapping[int, CancelOutcome]] = {
    1: CancelOutcome.CANCELLED,
    2: CancelOutcome.DELIVERED,
    3: CancelOutcome.UNKNOWN,
}
