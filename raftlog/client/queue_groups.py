"""Queue-style groups: opening and looking at them, and deciding about what is blocked."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Literal, Unpack

import msgspec

from raftlog.base.errors import BadRequest, StaleLease, TopicNotFound
from raftlog.client.asking import Asker
from raftlog.client.durations import Duration, seconds
from raftlog.client.queue_options import (
    POISON_NAMES,
    ConsumerOptions,
    GroupOptions,
    OnPoison,
    opening_of,
)
from raftlog.wire.frame import Method
from raftlog.wire.schema import leases

PAGE: Final = 1_000
Verdict = Literal["retry", "skip", "dead-letter"]
State = Literal["leased", "waiting", "parked", "dead", "blocked"]
_VERDICTS: Final[dict[str, "leases.Verdict.ValueType"]] = {
    "retry": leases.VERDICT_RETRY,
    "skip": leases.VERDICT_SKIP,
    "dead-letter": leases.VERDICT_DEAD_LETTER,
}
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

    Everything before ``next_offset`` was leased once, or passed over by the filter.
    """

    topic: str
    queue: int
    next_offset: int
    start_offset: int
    end_offset: int

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


class QueueGroupSummary(msgspec.Struct, frozen=True):
    """A group in a list."""

    name: str
    topics: tuple[str, ...]
    in_flight: int
    unread: int
    dead_letters: int


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


class QueueGroups:
    """The queue-style groups of a cluster: ``client.queue_groups``.

    Every method raises ``Unavailable`` when there is no leader within its timeout (seconds;
    without it, the client's).
    """

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def open(
        self, name: str, topics: str | Sequence[str] = (), **options: Unpack[GroupOptions]
    ) -> QueueGroupInfo:
        """Make a group, or change what is named of it; asked again, nothing changes.

        That is said by hand: it stays, whatever a consumer says, until it is changed by hand.

        Args:
            name: The group.
            topics: What it is to read, too.
            options: What is to hold for it from now on: ``GroupOptions``.

        Raises:
            BadName, BadRequest, BadDelay: No such group can be.
            BadFilter: The filter does not parse; the text shows where.
            TopicNotFound: There is no such topic.
            GroupStyle: There is a stream-style group of that name.
            GroupInUse: The order by key can't change while messages are in flight.
        """
        answer, _ = await self._asker.ask(
            Method.QUEUE_OPEN,
            opening_of(name, topics, {**options, "version": 0}, leases.OPENED_BY_CHANGE),
            leases.QueueGroupDescription,
            repeats=True,
        )
        return _info(answer)

    async def subscribe(
        self,
        name: str,
        topics: str | Sequence[str],
        *,
        filter: str = "",  # noqa: A002  (what everybody calls it)
        tags: Sequence[str] = (),
        version: int = 0,
        timeout: Duration | None = None,
    ) -> int:
        """Change what a group reads, for all its consumers; return the new version.

        It stays, whatever a consumer says, until it is changed by hand. What is in flight stays
        so; what was passed over with the old filter stays passed over. Asked for again, nothing
        changes.

        Args:
            name: The group; it exists.
            topics: All that it is to read from now on.
            filter: A condition over headers; "": none.
            tags: Only messages with one of them; none: whatever the tag.
            version: Only if the subscription is at this version; 0: whichever it is at.
            timeout: Seconds to try.

        Raises:
            GroupNotFound: There is no queue-style group of that name.
            SubscriptionConflict: It is at another version; the text shows what it reads.
            TopicNotFound: There is no such topic.
            BadFilter: The filter does not parse; the text shows where.
        """
        options: ConsumerOptions = {"filter": filter, "tags": tags, "version": version}
        answer, _ = await self._asker.ask(
            Method.QUEUE_OPEN,
            opening_of(name, topics, options, leases.OPENED_BY_REPLACE),
            leases.QueueGroupDescription,
            timeout_s=_seconds(timeout),
            repeats=True,
        )
        return answer.version

    async def describe(self, name: str, *, timeout: Duration | None = None) -> QueueGroupInfo:
        """Return what a group reads, what holds for it, and where it is.

        Raises:
            GroupNotFound: There is no queue-style group of that name.
        """
        return _info(await self._describe(name, timeout))

    async def in_flight(
        self,
        name: str,
        *,
        blocked: bool = False,
        limit: int = 1_000,
        timeout: Duration | None = None,
    ) -> "list[InFlight]":
        """Return messages in flight, in the order of their queues and offsets.

        Args:
            name: The group.
            blocked: Only those that wait for somebody's decision.
            limit: So many at most.
            timeout: Seconds for each question that it takes.

        Raises:
            GroupNotFound: There is no queue-style group of that name.
        """
        found: list[InFlight] = []
        after = (0, -1)
        while len(found) < limit:
            asked = leases.ListInFlight(
                group=name,
                after_queue=after[0],
                after_offset=after[1],
                count_max=min(PAGE, limit - len(found)),
                blocked=blocked,
            )
            answer, _ = await self._asker.ask(
                *(Method.QUEUE_IN_FLIGHT, asked, leases.InFlightListed),
                timeout_s=_seconds(timeout),
            )
            found.extend(map(_in_flight, answer.messages))
            if not answer.more:
                break
            after = answer.messages[-1].queue, answer.messages[-1].offset
        return found

    async def list(self, *, timeout: Duration | None = None) -> "list[QueueGroupSummary]":
        """Return all groups, by name."""
        found: list[QueueGroupSummary] = []
        while True:
            after = found[-1].name if found else ""
            answer, _ = await self._asker.ask(
                *(Method.QUEUE_LIST, leases.ListQueueGroups(after=after)),
                leases.QueueGroupsListed,
                timeout_s=_seconds(timeout),
            )
            found.extend(
                QueueGroupSummary(
                    *(each.group, tuple(each.topics), each.in_flight, each.unread),
                    each.dead_letters,
                )
                for each in answer.groups
            )
            if not answer.more:
                return found

    async def decide(
        self,
        name: str,
        topic: str,
        queue: int,
        offset: int,
        verdict: Verdict,
        *,
        timeout: Duration | None = None,
    ) -> None:
        """Let a blocked message go on.

        Args:
            name: The group.
            topic: The message's topic.
            queue: The place of its queue.
            offset: Its offset there.
            verdict: "retry": its attempts begin anew; "skip": it is finished; "dead-letter".
            timeout: Seconds to try.

        Raises:
            GroupNotFound, TopicNotFound, BadRequest: It is nowhere in what the group reads.
            StaleLease: It is not blocked, and was not decided so before.
        """
        if verdict not in _VERDICTS:
            raise BadRequest(f"a verdict is one of {', '.join(_VERDICTS)}, not {verdict!r}")
        described = await self._describe(name, timeout)
        of_topic = [each for each in described.queues if each.topic == topic]
        if not of_topic:
            raise TopicNotFound(f"group {name!r} reads no topic {topic!r}")
        number = next((each.queue for each in of_topic if each.place == queue), None)
        if number is None or offset < 0:
            raise BadRequest(
                f"there is no message {offset} in queue {queue} of {topic!r}; it has "
                f"{len(of_topic)} queues, from 0"
            )
        asked = leases.DecideBlocked(
            group=name, queue=number, offset=offset, verdict=_VERDICTS[verdict]
        )
        try:
            await self._asker.ask(
                *(Method.QUEUE_DECIDE, asked, leases.MessagesSettled),
                timeout_s=_seconds(timeout),
                repeats=True,
            )
        except StaleLease:
            raise StaleLease(
                f"message {offset} in queue {queue} of {topic!r} is not blocked in group "
                f"{name!r}; raftlog queue-group in-flight shows what is"
            ) from None

    async def _describe(self, name: str, timeout: Duration | None) -> leases.QueueGroupDescription:
        answer, _ = await self._asker.ask(
            Method.QUEUE_DESCRIBE,
            leases.DescribeQueueGroup(group=name),
            leases.QueueGroupDescription,
            timeout_s=_seconds(timeout),
        )
        return answer


def _seconds(timeout: Duration | None) -> float | None:
    return None if timeout is None else seconds(timeout)


def _info(answer: leases.QueueGroupDescription) -> QueueGroupInfo:
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
                *(each.topic, each.place, each.next_offset, each.start_offset, each.end_offset)
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


def _in_flight(row: leases.InFlight) -> InFlight:
    return InFlight(
        *(row.topic, row.place, row.offset, _STATES[row.state], row.attempts),
        *(timedelta(milliseconds=row.left_ms), row.reason),
    )
