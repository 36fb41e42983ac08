"""Queue-style groups: opening and looking at them, and deciding about what is blocked."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Literal, TypedDict, Unpack

import msgspec

from raftlog.base.errors import BadDelay, BadRequest, StaleLease, TopicNotFound
from raftlog.client.asking import Asker
from raftlog.client.durations import Duration, seconds
from raftlog.client.queue_message import delay_ms, lease_ms
from raftlog.wire.frame import Method
from raftlog.wire.schema import leases

PAGE: Final = 1_000
OnPoison = Literal["dead-letter", "skip", "block"]
Verdict = Literal["retry", "skip", "dead-letter"]
State = Literal["leased", "waiting", "parked", "dead", "blocked"]
_POISON: Final[dict[str, "leases.PoisonPolicy.ValueType"]] = {
    "dead-letter": leases.POISON_POLICY_DEAD_LETTER,
    "skip": leases.POISON_POLICY_SKIP,
    "block": leases.POISON_POLICY_BLOCK,
}
_POISON_NAMES: Final[dict[int, OnPoison]] = {
    leases.POISON_POLICY_DEAD_LETTER: "dead-letter",
    leases.POISON_POLICY_SKIP: "skip",
    leases.POISON_POLICY_BLOCK: "block",
}
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


class QueueGroupSettings(msgspec.Struct, frozen=True):
    """What holds for a queue-style group; see ``GroupOptions``."""

    lease: timedelta
    attempts: int
    retry: tuple[timedelta, ...]
    in_flight: int
    fifo: bool
    on_poison: OnPoison


class QueueGroupQueue(msgspec.Struct, frozen=True):
    """Where a group is in a queue: everything before ``next_offset`` was leased once."""

    topic: str
    queue: int
    next_offset: int
    start_offset: int
    end_offset: int

    @property
    def unread(self) -> int:
        """Messages that were never leased."""
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
        unread: Messages that were never leased.
        dead_letters: Stored, ever.
        skipped: Finished since their attempts were used up.
        expired: Taken by retention before they were finished.
        settings: What holds for it.
        queues: Where it is in each queue.
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

        Args:
            name: The group.
            topics: What it is to read, too.
            options: What is to hold for it from now on: ``GroupOptions``.

        Raises:
            BadName, BadRequest, BadDelay: No such group can be.
            TopicNotFound: There is no such topic.
            GroupStyle: There is a stream-style group of that name.
            GroupInUse: The order by key can't change while messages are in flight.
        """
        answer, _ = await self._asker.ask(
            *(Method.QUEUE_OPEN, opening_of(name, topics, options), leases.QueueGroupDescription),
            repeats=True,
        )
        return _info(answer)

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
        settings.lease_ms = lease_ms(options["lease"])
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
            _POISON_NAMES[settings.poison],
        ),
        tuple(
            QueueGroupQueue(
                *(each.topic, each.place, each.next_offset, each.start_offset, each.end_offset)
            )
            for each in answer.queues
        ),
    )


def _in_flight(row: leases.InFlight) -> InFlight:
    return InFlight(
        *(row.topic, row.place, row.offset, _STATES[row.state], row.attempts),
        *(timedelta(milliseconds=row.left_ms), row.reason),
    )
