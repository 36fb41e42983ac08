"""Queue-style groups as they are told: what they read, where they are, what is in flight."""

from datetime import timedelta
from typing import Final, Literal

import msgspec

from raftlog.client.queue_options import POISON_NAMES, OnPoison
from raftlog.wire.schema import leases

State = Literal["leased", "waiting", "parked", "dead", "blocked"]
_STATES: Final[dict[int, State]] = {
    leases.FLIGHT_STATE_LEASED: "leased",
    leases.FLIGHT_STATE_WAITING: "waiting",
    leases.FLIGHT_STATE_PARKED: "parked",
    leases.FLIGHT_STATE_DEAD: "dead",
    leases.FLIGHT_STATE_BLOCKED: "blocked",
}


class QueueGroupSettings(msgspec.Struct, frozen=True):
    """What holds for a queue-style group; see ``GroupOptions``."""

    lease: timedelta
    attempts: int
    retry: tuple[timedelta, ...]
    in_flight: int
    fifo: bool
    on_poison: OnPoison


class QueueSubscription(msgspec.Struct, frozen=True):
    """What a queue-style group reads.

    Attributes:
        topics: Their names, in order.
        filter: The condition over headers; "": none.
        tags: Only messages with one of them; none: whatever the tag.
        version: Raised by every change of topics, filter or settings.
        by_hand: It was said by hand, and stays until it is changed by hand.
    """

    topics: tuple[str, ...]
    filter: str
    tags: tuple[str, ...]
    version: int
    by_hand: bool


class QueueGroupQueue(msgspec.Struct, frozen=True):
    """Where a group is in a queue.

    Attributes:
        topic: Its topic.
        queue: Its place there.
        next_offset: Everything before was leased once, or passed over by the filter.
        start_offset: Where the queue begins.
        end_offset: Where it ends.
        oldest_offset: The first message that is not finished: in flight, or never leased; the
            end: there is none.
        lag_time: How long that one could have been read: log time; zero: there is none.
    """

    topic: str
    queue: int
    next_offset: int
    start_offset: int
    end_offset: int
    oldest_offset: int = 0
    lag_time: timedelta = timedelta(0)

    @property
    def unread(self) -> int:
        """Messages that were never leased, nor passed over."""
        return max(0, self.end_offset - self.next_offset)


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
        dead: Of these, on their way to the dead letters.
        unread: Messages that were never leased, nor passed over.
        dead_letters: Stored, ever.
        skipped: Finished since their attempts were used up.
        expired: Taken by retention before they were finished.
        settings: What holds for it.
        queues: Where it is in each queue.
        subscription: What it reads, in which version.
        passed: Messages that were passed over, since the filter does not want them.
    """

    name: str
    topics: tuple[str, ...]
    dead_letter_topic: str
    in_flight: int
    leased: int
    blocked: int
    dead: int
    unread: int
    dead_letters: int
    skipped: int
    expired: int
    settings: QueueGroupSettings
    queues: tuple[QueueGroupQueue, ...]
    subscription: QueueSubscription
    passed: int

    @property
    def lag_time(self) -> timedelta:
        """How long the oldest message that is not finished could have been read: log time.

        Zero if all is finished. What was delayed, or in a transaction, counts from when it
        became visible.
        """
        return max((queue.lag_time for queue in self.queues), default=timedelta(0))


class QueueGroupSummary(msgspec.Struct, frozen=True):
    """A group in a list; ``lag_time`` as in ``QueueGroupInfo``."""

    name: str
    topics: tuple[str, ...]
    in_flight: int
    unread: int
    dead_letters: int
    lag_time: timedelta = timedelta(0)


class SoughtQueue(msgspec.Struct, frozen=True):
    """What a seek comes to in one queue.

    Attributes:
        topic: Its topic.
        queue: Its place there.
        before: Where the group was: all before that was leased once, or passed over.
        after: Where it goes on.
        end_offset: Where the queue ends.
        kept: Messages before ``after`` that are in flight, and stay so.
        leased: Messages from there on that were leased, and are not any more.
        waiting: That waited to be tried again, or for their turn.
        failed: That were blocked, or on their way to the dead letters.
    """

    topic: str
    queue: int
    before: int
    after: int
    end_offset: int
    kept: int
    leased: int
    waiting: int
    failed: int

    @property
    def records(self) -> int:
        """Messages that are passed over, or if negative: leased again."""
        return self.after - self.before


class InFlight(msgspec.Struct, frozen=True):
    """A message in flight.

    Attributes:
        topic: Its topic.
        queue: The place of its queue in the topic, from 0.
        offset: Its position in the queue.
        state: "leased"; "waiting" until its time comes, then for somebody who asks; "parked": it
            waits for another one of its key; "dead": on its way to the dead letters; "blocked".
        attempts: How often it was leased.
        left: Of its lease, or of its wait.
        reason: Why it came back last.
    """

    topic: str
    queue: int
    offset: int
    state: State
    attempts: int
    left: timedelta
    reason: str


def age_of(since_ms: int, now_ms: int) -> timedelta:
    """Return how long something has been so; 0: it is not."""
    return timedelta(milliseconds=max(0, now_ms - since_ms) if since_ms else 0)


def info_of(answer: leases.QueueGroupDescription) -> QueueGroupInfo:
    """Return a group as a node tells it."""
    settings = answer.settings
    return QueueGroupInfo(
        *(answer.group, tuple(answer.topics), answer.dead_letter_topic, answer.in_flight),
        *(answer.leased, answer.blocked, answer.dead, answer.unread, answer.dead_letters),
        *(answer.skipped, answer.expired),
        QueueGroupSettings(
            timedelta(milliseconds=settings.lease_ms),
            settings.attempts_max,
            tuple(timedelta(milliseconds=each) for each in settings.retry_ms),
            settings.in_flight_max,
            settings.fifo,
            POISON_NAMES[settings.poison],
        ),
        tuple(
            QueueGroupQueue(
                *(each.topic, each.place, each.next_offset, each.start_offset, each.end_offset),
                *(each.oldest_offset, age_of(each.unread_ms, answer.now_ms)),
            )
            for each in answer.queues
        ),
        QueueSubscription(
            tuple(answer.topics),
            answer.filter.condition,
            tuple(answer.filter.tags),
            answer.version,
            answer.by_hand,
        ),
        answer.passed,
    )


def in_flight_of(row: leases.InFlight) -> InFlight:
    """Return a message in flight as a node tells it."""
    return InFlight(
        *(row.topic, row.place, row.offset, _STATES[row.state], row.attempts),
        *(timedelta(milliseconds=row.left_ms), row.reason),
    )


def sought_of(row: leases.SoughtQueue) -> SoughtQueue:
    """Return what a seek comes to as a node tells it."""
    return SoughtQueue(
        *(row.topic, row.place, row.before, row.after, row.end_offset),
        *(row.kept, row.leased, row.waiting, row.failed),
    )
