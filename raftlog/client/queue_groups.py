"""Queue-style groups: opening and looking at them, and deciding about what is blocked."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Unpack

from raftlog.base.errors import BadRequest, StaleLease
from raftlog.client.asking import Asker
from raftlog.client.durations import Duration, seconds
from raftlog.client.groups import SeekTo
from raftlog.client.queue_group_infos import (
    InFlight,
    QueueGroupInfo,
    QueueGroupSummary,
    SoughtQueue,
    age_of,
    in_flight_of,
    info_of,
    sought_of,
)
from raftlog.client.queue_options import ConsumerOptions, GroupOptions, opening_of
from raftlog.client.starting import Start, check_start, no_queue, start_offsets
from raftlog.wire.frame import Method
from raftlog.wire.schema import leases

PAGE: Final = 1_000
Verdict = Literal["retry", "skip", "dead-letter"]
_VERDICTS: Final[dict[str, "leases.Verdict.ValueType"]] = {
    "retry": leases.VERDICT_RETRY,
    "skip": leases.VERDICT_SKIP,
    "dead-letter": leases.VERDICT_DEAD_LETTER,
}


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
        return info_of(answer)

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
        return info_of(await self._describe(name, timeout))

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
            found.extend(map(in_flight_of, answer.messages))
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
                    *(each.dead_letters, age_of(each.unread_ms, answer.now_ms)),
                )
                for each in answer.groups
            )
            if not answer.more:
                return found

    async def seek(
        self,
        name: str,
        topic: str,
        *,
        to: SeekTo | Mapping[int, int],
        queue: int | None = None,
        dry_run: bool = False,
        timeout: Duration | None = None,
    ) -> Sequence[SoughtQueue]:
        """Set where a group goes on, also backwards: one commit for all the topic's queues.

        What is in flight from there on is ended, and leased again: whoever holds it is told
        ``StaleLease``. What is in flight before it is settled, or tried again, as ever; dead
        letters stay.

        Args:
            name: The group.
            topic: A topic that it reads.
            to: "earliest", "latest", an offset, a ``datetime`` with time zone, a
                ``timedelta`` from now (negative: ago), or an offset for each queue's place.
            queue: The place of one queue; None: all of them.
            dry_run: Only find out what it would come to: all is checked, nothing is changed.
            timeout: Seconds for each question that it takes.

        Returns:
            For each queue where the group was and goes on, and what that means for messages in
            flight.

        Raises:
            GroupNotFound, TopicNotFound, WrongQueue: There is none of that name or place.
            OffsetOutOfRange: An offset is below the queue's start or beyond its end.
            BadRequest: The group does not read the topic.
            LimitReached: More than 20 000 messages in flight would be leased again.
            ValueError, TypeError: ``to`` is no position.
            OutcomeUnknown: No answer; it may be done.
        """
        at: Start = "earliest" if isinstance(to, Mapping) else to
        check_start(at)
        starts = await start_offsets(
            self._asker, topic, at, queue=queue, timeout_s=_seconds(timeout)
        )
        if isinstance(to, Mapping):
            for place in to.keys() - starts.keys():
                raise no_queue(topic, len(starts), place)
            starts = {place: (starts[place][0], offset) for place, offset in to.items()}
        asked = leases.SeekQueueGroup(
            group=name,
            offsets=[
                leases.SoughtOffset(queue=number, offset=offset)
                for number, offset in starts.values()
            ],
            dry_run=dry_run,
        )
        answer, _ = await self._asker.ask(
            *(Method.QUEUE_SEEK, asked, leases.QueueGroupSought), timeout_s=_seconds(timeout)
        )
        return [sought_of(each) for each in answer.queues]

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
            GroupNotFound: There is no such group.
            BadRequest: The message is nowhere in what the group reads.
            StaleLease: It is not blocked, and was not decided so before.
        """
        if verdict not in _VERDICTS:
            raise BadRequest(f"a verdict is one of {', '.join(_VERDICTS)}, not {verdict!r}")
        described = await self._describe(name, timeout)
        of_topic = [each for each in described.queues if each.topic == topic]
        if not of_topic:
            reads = ", ".join(sorted({each.topic for each in described.queues})) or "none"
            raise BadRequest(f"group {name!r} does not read topic {topic!r}; it reads {reads}")
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
