"""Queue-style groups: what may be said of one when it is opened, and looking at them."""

from collections.abc import Sequence
from typing import Final, Literal, TypedDict

import msgspec

from raftlog.base.errors import BadDelay, BadRequest
from raftlog.client.asking import Asker
from raftlog.client.durations import Duration, seconds
from raftlog.client.queue_message import delay_ms
from raftlog.wire.frame import Method
from raftlog.wire.schema import leases

OnPoison = Literal["dead-letter", "skip", "block"]
_POISON: Final[dict[str, "leases.PoisonPolicy.ValueType"]] = {
    "dead-letter": leases.POISON_POLICY_DEAD_LETTER,
    "skip": leases.POISON_POLICY_SKIP,
    "block": leases.POISON_POLICY_BLOCK,
}


class GroupOptions(TypedDict, total=False):
    """What holds for a queue-style group; what is left out stays as it is, or has its default."""

    start: Literal["earliest", "latest"]
    """Where a queue begins that the group does not read yet ("earliest")."""
    lease: Duration
    """Seconds until a message that was not settled is leased again, 1 s to 12 h (30 s)."""
    attempts: int
    """How often a message is leased, 1 to 1000 (16)."""
    retry: Sequence[Duration]
    """Seconds to wait after each attempt, the last one again and again (10 s to 2 h)."""
    in_flight: int
    """Messages in flight at most, 1 to 100 000 (10 000)."""
    fifo: bool
    """Messages of one key are leased one after the other, in their order (False)."""
    on_poison: OnPoison
    """What becomes of a message whose attempts are used up ("dead-letter")."""


class QueueGroupInfo(msgspec.Struct, frozen=True):
    """A queue-style group.

    Attributes:
        name: The group.
        topics: What it reads.
        dead_letter_topic: Where its dead letters go.
        in_flight: Messages that are leased, wait for a retry or their turn, are blocked, or are
            on their way to the dead letters.
        leased: Of these, leased now.
        blocked: Of these, waiting for somebody's decision.
        unread: Messages that were never leased.
        dead_letters: Stored, ever.
        skipped: Finished since their attempts were used up.
        expired: Taken by retention before they were finished.
    """

    name: str
    topics: tuple[str, ...]
    dead_letter_topic: str
    in_flight: int
    leased: int
    blocked: int
    unread: int
    dead_letters: int
    skipped: int
    expired: int


class QueueGroups:
    """The queue-style groups of a cluster: ``client.queue_groups``."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def describe(self, name: str, *, timeout: Duration | None = None) -> QueueGroupInfo:
        """Return what a group reads and where it is.

        Raises:
            GroupNotFound: There is no queue-style group of that name.
            Unavailable: No leader within the timeout.
        """
        answer, _ = await self._asker.ask(
            Method.QUEUE_DESCRIBE,
            leases.DescribeQueueGroup(group=name),
            leases.QueueGroupDescription,
            timeout_s=None if timeout is None else seconds(timeout),
        )
        return QueueGroupInfo(
            *(answer.group, tuple(answer.topics), answer.dead_letter_topic, answer.in_flight),
            *(answer.leased, answer.blocked, answer.unread, answer.dead_letters),
            *(answer.skipped, answer.expired),
        )


def opening_of(
    group: str, topics: str | Sequence[str], options: GroupOptions
) -> leases.OpenQueueGroup:
    """Return the request that opens a group.

    Raises:
        BadRequest: A policy or a start that is none, or a length of time that can't be.
        BadDelay: A retry's delay that can't be.
    """
    start, poison = options.get("start", "earliest"), options.get("on_poison")
    if start not in ("earliest", "latest"):
        raise BadRequest(f"start is 'earliest' or 'latest', not {start!r}")
    if poison is not None and poison not in _POISON:
        raise BadRequest(f"on_poison is one of {', '.join(_POISON)}, not {poison!r}")
    settings = leases.QueueGroupSettings(
        attempts_max=_count(options.get("attempts"), "attempts"),
        in_flight_max=_count(options.get("in_flight"), "in_flight"),
        fifo=options.get("fifo"),
        poison=None if poison is None else _POISON[poison],
        retry_ms=[_delay(delay) for delay in options.get("retry", ())],
    )
    if "lease" in options:
        settings.lease_ms = round(seconds(options["lease"]) * 1000)
    return leases.OpenQueueGroup(
        group=group,
        topics=(topics,) if isinstance(topics, str) else topics,
        from_end=start == "latest",
        settings=settings,
    )


def _count(value: int | None, name: str) -> int | None:
    if value is not None and not 0 < value < 1 << 31:
        raise BadRequest(f"{name} of {value}; it is 1 or more")
    return value


def _delay(delay: Duration) -> int:
    found = delay_ms(delay)
    if found is None:
        raise BadDelay("a retry's delay is a time")
    return found
