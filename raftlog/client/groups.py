"""Administration of consumer groups."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from raftlog.base.errors import BadRequest, GroupNotFound, OffsetOutOfRange, UnknownMember
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog
from raftlog.client.durations import Duration, seconds
from raftlog.client.log_walking import WalkBounds
from raftlog.client.seek_history import GroupSeeks
from raftlog.client.starting import Start, check_start, no_queue, start_ms, start_offsets
from raftlog.wire.filters import record_filter
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, groups, topics

PAGE: int = 1000
SeekTo = Literal["earliest", "latest"] | int | datetime | timedelta


class GroupSummary(msgspec.Struct, frozen=True):
    """A group in a list: its members, how many records it is behind, and since when.

    ``lag_time`` is how long the oldest of these records could have been read, as in ``GroupInfo``.
    """

    name: str
    generation: int
    members: int
    lag: int
    lag_time: timedelta = timedelta(0)


class GroupMember(msgspec.Struct, frozen=True):
    """A member: its id, the client's name for people, what it subscribes to.

    ``is_static``: its id is a fixed name, and outlives the process.
    """

    member: str
    client_id: str
    topics: tuple[str, ...]
    session: timedelta
    is_static: bool = False


class GroupQueue(msgspec.Struct, frozen=True):
    """A queue of a group: who reads it, and how far. ``committed`` is None if nothing was.

    ``heir`` is the member that gets it once its owner has finished (cooperative groups).
    ``is_read`` is False if the group reads its topic no more: it keeps its offset, and has no lag.
    """

    topic: str
    queue: int
    owner: str | None
    committed: int | None
    start_offset: int
    end_offset: int
    lag_time: timedelta = timedelta(0)
    """How long the oldest of the records that it is behind could have been read."""
    heir: str | None = None
    is_read: bool = True

    @property
    def lag(self) -> int:
        """Records that are behind the committed offset (or the start) and can be read."""
        if not self.is_read:
            return 0
        done = self.start_offset if self.committed is None else self.committed
        return max(0, self.end_offset - max(done, self.start_offset))


class GroupSubscription(msgspec.Struct, frozen=True):
    """What a group reads, and how it is shared out; ``version`` is raised by every change.

    ``by_hand``: ``Groups.subscribe`` said so, and it stays; else it goes with the last member.
    """

    topics: tuple[str, ...]
    filter: str
    tags: tuple[str, ...]
    version: int
    assignor: str = "range"
    by_hand: bool = False


class GroupInfo(msgspec.Struct, frozen=True):
    """A consumer group."""

    name: str
    generation: int
    members: tuple[GroupMember, ...]
    queues: tuple[GroupQueue, ...]
    subscription: GroupSubscription

    @property
    def lag(self) -> int:
        """Records that it is behind, over all queues."""
        return sum(queue.lag for queue in self.queues)

    @property
    def lag_time(self) -> timedelta:
        """How long the oldest record that it is behind could have been read: log time, to the ms.

        Zero if nothing is behind. What was delayed, or in a transaction, counts from when it
        became visible.
        """
        return max((queue.lag_time for queue in self.queues), default=timedelta(0))


class Groups:
    """The consumer groups of a cluster: ``client.groups``.

    Every method raises ``Unavailable`` when there is no leader within its timeout
    (seconds; without it, the client's).
    """

    def __init__(self, asker: Asker, catalog: Catalog) -> None:
        self._asker = asker
        self._catalog = catalog

    async def list(self, *, timeout: Duration | None = None) -> list[GroupSummary]:
        """Return all groups, by name."""
        return [summary async for summary in self._pages(_budget(timeout))]

    async def _pages(self, timeout_s: float | None) -> AsyncIterator[GroupSummary]:
        after = ""
        while True:
            answer, _ = await self._asker.ask(
                Method.GROUP_LIST,
                groups.ListGroups(after=after, count_max=PAGE),
                groups.GroupsListed,
                timeout_s=timeout_s,
            )
            for group in answer.groups:
                yield GroupSummary(
                    *(group.group, group.generation, group.members, group.lag),
                    _age(group.unread_ms, answer.now_ms),
                )
            if not answer.more or not answer.groups:
                return
            after = answer.groups[-1].group

    async def describe(self, name: str, *, timeout: Duration | None = None) -> GroupInfo:
        """Return a group as it is now (linearizable).

        Raises:
            GroupNotFound: There is no such group.
        """
        answer, _ = await self._asker.ask(
            Method.GROUP_DESCRIBE,
            groups.DescribeGroup(group=name),
            groups.GroupDescription,
            timeout_s=_budget(timeout),
        )
        return GroupInfo(
            answer.group,
            answer.generation,
            tuple(
                GroupMember(
                    member.member,
                    member.client,
                    tuple(member.topics),
                    timedelta(milliseconds=member.session_ms),
                    bool(member.life),
                )
                for member in answer.members
            ),
            tuple(
                GroupQueue(
                    queue.topic,
                    queue.place,
                    queue.owner or None,
                    None if queue.committed < 0 else queue.committed,
                    queue.start_offset,
                    queue.end_offset,
                    _age(queue.unread_ms, answer.now_ms),
                    queue.heir or None,
                    not queue.unsubscribed,
                )
                for queue in answer.queues
            ),
            GroupSubscription(
                tuple(answer.subscription.topics),
                answer.subscription.filter.condition,
                tuple(answer.subscription.filter.tags),
                answer.subscription.version,
                answer.subscription.assignor,
                answer.subscription.by_hand,
            ),
        )

    async def subscribe(
        self,
        name: str,
        topics: str | Sequence[str],
        *,
        filter: str = "",  # noqa: A002  (what everybody calls it)
        tags: Sequence[str] = (),
        version: int = 0,
        assignor: str = "",
        timeout: Duration | None = None,
    ) -> int:
        """Change what a group reads, for all its members; return the new version.

        Running consumers take it over: they begin a generation and go on from what is
        committed. What the group has passed over with the old filter stays passed over:
        ``seek`` goes back. It stays when the members have gone, until it is changed by this
        method again. Asking again for the same is harmless.

        Args:
            name: The group.
            topics: One topic or several.
            filter: A condition over headers and ``tag``; "": none.
            tags: Tags; none: whatever the tag.
            version: Which version it is to replace; 0: whichever there is.
            assignor: "range", "sticky" or "cooperative"; "": as before.
            timeout: Seconds for all of it.

        Raises:
            GroupNotFound, TopicNotFound: There is none of that name.
            SubscriptionConflict: It is at another version.
            BadFilter: The filter does not parse; the text shows where.
            BadRequest: There is no such assignor.
        """
        wanted = record_filter(tags, filter)
        answer, _ = await self._asker.ask(
            Method.GROUP_SUBSCRIBE,
            groups.SetSubscription(
                group=name,
                topics=(topics,) if isinstance(topics, str) else topics,
                filter=client.RecordFilter(tags=wanted.tags, condition=wanted.condition),
                version=version,
                assignor=assignor,
            ),
            groups.SubscriptionSet,
            timeout_s=_budget(timeout),
            repeats=True,
        )
        return answer.version

    async def seek(
        self,
        name: str,
        topic: str,
        *,
        to: SeekTo | Mapping[int, int],
        queue: int | None = None,
        dry_run: bool = False,
        timeout: Duration | None = None,
    ) -> Mapping[int, int]:
        """Set where a group goes on reading, also backwards: one commit for all its queues.

        Running consumers of the group notice and go on from there; what they had not
        committed is lost to them, as after a rebalance.

        Args:
            name: The group.
            topic: The topic.
            to: "earliest", "latest", an offset, a ``datetime`` with time zone, a
                ``timedelta`` from now (negative: ago), or an offset for each queue's place.
            queue: The place of one queue; None: all of them.
            dry_run: Only find out where it would go: everything is checked, nothing is changed.
            timeout: Seconds for all of it.

        Returns:
            The offset by queue's place. Where the group is before that: ``describe``.

        Raises:
            GroupNotFound, TopicNotFound, WrongQueue: There is none of that name or place.
            OffsetOutOfRange: An offset is below the queue's start or beyond its end.
            ValueError, TypeError: ``to`` is no position.
            OutcomeUnknown: No answer; it may be done. Seeking again is harmless.
        """
        if isinstance(to, Mapping):
            queues = await self._catalog.refresh(topic, _budget(timeout))
            for place in to:
                if not 0 <= place < len(queues):
                    raise no_queue(topic, len(queues), place)
            sought = {place: (queues[place], offset) for place, offset in to.items()}
        else:
            start: Start = to
            check_start(start)
            sought = await start_offsets(
                self._asker, topic, start, queue=queue, timeout_s=_budget(timeout)
            )
        offsets = [
            groups.QueueOffset(queue=number, offset=offset) for number, offset in sought.values()
        ]
        if dry_run:
            await self._check_seek(name, topic, dict(sought.values()), timeout)
            return {place: offset for place, (_, offset) in sought.items()}
        await self._asker.ask(
            Method.GROUP_SEEK,
            groups.SeekGroup(group=name, offsets=offsets),
            groups.GroupSought,
            timeout_s=_budget(timeout),
        )
        return {place: offset for place, (_, offset) in sought.items()}

    def seeks(
        self,
        name: str,
        *,
        since: datetime | timedelta | None = None,
        limit: int | None = None,
        timeout: Duration | None = None,
    ) -> GroupSeeks:
        """Look for the seeks of a group, stream or queue style, as far as the log is kept.

        Oldest first; iterate over the result. What was acknowledged before the question counts.

        Args:
            name: The group, which need not be there any more.
            since: Only from then on: a ``datetime`` with time zone, or a ``timedelta`` from now
                (negative: ago). The log before that is not looked at, so what was committed
                then is not known.
            limit: End after so many.
            timeout: Seconds for each question; without it, the client's.

        Raises:
            BadRequest: The limit is not positive.
            ValueError, TypeError: ``since`` is no time.
        """
        if limit is not None and limit < 1:
            raise BadRequest(f"a limit of {limit}; 1 or more")
        since_ms = 0 if since is None else start_ms(since)
        timeout_s = self._asker.timeout_s if timeout is None else seconds(timeout)
        return GroupSeeks(self._asker, name, since_ms, WalkBounds(0, limit, timeout_s))

    async def _check_seek(
        self, name: str, topic: str, offsets: Mapping[int, int], timeout: Duration | None
    ) -> None:
        """Raise what a seek to ``offsets``, by queue's number, would raise now."""
        await self.describe(name, timeout=timeout)
        answer, _ = await self._asker.ask(
            Method.TOPIC_DESCRIBE,
            topics.DescribeTopic(name=topic),
            topics.TopicDescription,
            timeout_s=_budget(timeout),
        )
        for row in answer.queues:
            offset = offsets.get(row.queue, row.start_offset)
            if not row.start_offset <= offset <= row.end_offset:
                raise OffsetOutOfRange(offset, row.start_offset, row.end_offset)

    async def remove_member(
        self, name: str, member: str, *, timeout: Duration | None = None
    ) -> None:
        """Take a member out of a group that will not come back: its queues go to the others now.

        Without this a static member's wait until its session has ended. A member that runs
        joins again by itself; a static one that was started meanwhile stays.

        Raises:
            GroupNotFound: There is no such group.
            UnknownMember: It has no such member.
        """
        answer, _ = await self._asker.ask(
            Method.GROUP_DESCRIBE,
            groups.DescribeGroup(group=name),
            groups.GroupDescription,
            timeout_s=_budget(timeout),
        )
        lives = {each.member: each.life for each in answer.members}
        if member not in lives:
            known = ", ".join(sorted(lives)) or "none"
            raise UnknownMember(f"group {name!r} has no member {member!r}; its members: {known}")
        await self._asker.ask(
            Method.GROUP_LEAVE,
            groups.LeaveGroup(group=name, member=member, life=lives[member]),
            groups.GroupLeft,
            timeout_s=_budget(timeout),
        )

    async def delete(
        self, name: str, *, missing_ok: bool = False, timeout: Duration | None = None
    ) -> None:
        """Forget a group without members, and its offsets.

        Raises:
            GroupNotFound: There is no such group (not with ``missing_ok``).
            GroupInUse: It has members.
            OutcomeUnknown: No answer (not with ``missing_ok``, which asks again).
        """
        try:
            await self._asker.ask(
                Method.GROUP_DELETE,
                groups.DeleteGroup(group=name),
                groups.GroupDeleted,
                timeout_s=_budget(timeout),
                repeats=missing_ok,
            )
        except GroupNotFound:
            if not missing_ok:
                raise


def _age(stored_ms: int, now_ms: int) -> timedelta:
    return timedelta(milliseconds=max(0, now_ms - stored_ms) if stored_ms else 0)


def _budget(timeout: Duration | None) -> float | None:
    return None if timeout is None else seconds(timeout)
