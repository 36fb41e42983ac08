"""Consumer groups: members come and go by commits; groups are looked at linearizably.

A group's lag is told in records and as a time (``unread``): how long, in log time, the oldest
record that it has not committed could have been read. What is hidden (delayed, half, or part of
a transaction that is open) can't be read yet: it is no lag, and none that was built up meanwhile.

That a member *lives* is no state (ruling 25): see ``sessions``.
"""

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Final

import msgspec

from raftlog.base.errors import GroupNotFound, RaftlogError
from raftlog.base.ids import Offset
from raftlog.broker.group_commands import (
    Assignment,
    DeleteGroup,
    GroupDeleted,
    GroupLeft,
    JoinGroup,
    LeaveGroup,
    SetSubscription,
    Subscription,
    SubscriptionSet,
)
from raftlog.broker.groups import Group, Member
from raftlog.broker.machine import BrokerMachine
from raftlog.service.ports import ShardReplica
from raftlog.service.proposing import Reply, propose
from raftlog.service.sessions import Sessions
from raftlog.service.unread import UnreadTimes, Wanted
from raftlog.wire.filters import RecordFilter

PAGE_MAX: Final = 500
"""Rows in one answer to a list."""
PAGE_QUEUES_MAX: Final = 10_000
"""Queues that are looked at for one page: a longer look would hold up heartbeats."""


class GroupQueue(msgspec.Struct, frozen=True, gc=False):
    """A queue of a group: one that it reads, or with a committed offset (else None)."""

    queue: int
    topic: str
    place: int
    owner: str
    committed: Offset | None
    start_offset: Offset
    end_offset: Offset
    heir: str = ""
    """Who gets it once the owner has released it."""
    is_read: bool = True
    """Whether the group reads its topic, still."""

    @property
    def first_unread(self) -> Offset:
        """Offset of the first record that was not committed as read; the end if there is none."""
        return max(self.committed or self.start_offset, self.start_offset)

    @property
    def lag(self) -> int:
        """Records that are there to be read by the group and were not committed as read."""
        return self.end_offset - self.first_unread if self.is_read else 0


class GroupState(msgspec.Struct, frozen=True):
    """A group as it is described."""

    name: str
    generation: int
    subscription: Subscription
    members: tuple[Member, ...]
    """In the order of their ids, whichever replica answers."""
    queues: tuple[GroupQueue, ...]
    unread_ms: Mapping[Wanted, int] = {}
    """When first unread records could first be read: of each queue, or only of the oldest."""

    @property
    def lag(self) -> int:
        """Records that its queues have and that it has not read."""
        return sum(queue.lag for queue in self.queues)

    @property
    def behind(self) -> list[Wanted]:
        """The first unread record of each queue that has one."""
        return [(row.queue, row.first_unread) for row in self.queues if row.lag]

    @property
    def behind_since_ms(self) -> int:
        """The oldest of ``unread_ms``; 0 if there is none."""
        return min(self.unread_ms.values(), default=0)


class Described(msgspec.Struct, frozen=True):
    """A group, and what log time it was."""

    group: GroupState
    now_ms: int


class Page(msgspec.Struct, frozen=True):
    """Groups in the order of their names, whether there are more, and what log time it was."""

    groups: list[GroupState]
    more: bool
    now_ms: int


class GroupService:
    """The consumer groups of one shard."""

    def __init__(
        self,
        replica: ShardReplica,
        machine: BrokerMachine,
        sessions: Sessions,
        unread: UnreadTimes,
        log_time_ms: Callable[[], int],
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._sessions: Final = sessions
        self._unread: Final = unread
        self._log_time_ms: Final = log_time_ms
        """What the leader would stamp an entry with now."""

    def join(
        self,
        group: str,
        member: str,
        wanted: Subscription,
        reply: Reply[Assignment],
        *,
        session_ms: int,
        client: str = "",
        life: int = 0,
    ) -> None:
        """Become a member; asking again is harmless.

        ``BadName``, ``BadRequest`` (session, topics, assignor), ``TopicNotFound``,
        ``SubscriptionConflict``, ``Fenced`` (life) or ``LimitReached`` if not.
        """

        def joined(outcome: Assignment | RaftlogError) -> None:
            if isinstance(outcome, Assignment):
                self._sessions.heard(group, member, session_ms)
            reply(outcome)

        def make() -> JoinGroup:
            return JoinGroup(
                *(group, member, wanted.topics, session_ms, client),
                *(wanted.wanted, wanted.assignor, life),
            )

        propose(self._replica, make, Assignment, joined)

    def subscribe(
        self,
        group: str,
        topics: tuple[str, ...],
        wanted: RecordFilter,
        version: int,
        assignor: str,
        reply: Reply[SubscriptionSet],
    ) -> None:
        """Change what a group reads; asking again is harmless.

        ``GroupNotFound``, ``TopicNotFound``, or ``SubscriptionConflict`` if it is at another
        version than the one that is to be replaced.
        """
        propose(
            *(self._replica, lambda: SetSubscription(group, topics, wanted, version, assignor)),
            *(SubscriptionSet, reply),
        )

    def leave(self, group: str, member: str, reply: Reply[GroupLeft], *, life: int = 0) -> None:
        """Be a member no more; harmless if it is none, or a later process runs as it."""
        propose(
            *(self._replica, lambda: LeaveGroup(group, member, life=life), GroupLeft, reply),
        )

    def delete(self, group: str, reply: Reply[GroupDeleted]) -> None:
        """Forget a group and its offsets; ``GroupInUse`` if it has members."""
        propose(self._replica, lambda: DeleteGroup(group), GroupDeleted, reply)

    def describe(self, name: str, reply: Reply[Described]) -> None:
        """Tell a group's members, queues and lag; ``GroupNotFound`` if there is none."""

        def ready(error: RaftlogError | None) -> None:
            if error is not None:
                reply(error)
                return
            group = self._machine.groups.get(name)
            if group is None:
                reply(GroupNotFound(f"there is no consumer group {name!r}"))
                return
            state, now_ms = state_of(self._machine, group), self._now_ms()

            def found(times: Mapping[Wanted, int]) -> None:
                reply(Described(msgspec.structs.replace(state, unread_ms=times), now_ms))

            self._unread.find(state.behind, found)

        self._replica.read_index(ready)

    def list(self, after: str, count_max: int, reply: Reply[Page]) -> None:
        """Tell the groups whose names come after ``after``, at most ``count_max`` (0: 500).

        A page may be shorter than asked for; ``more`` says whether it is the last.
        """
        count = min(count_max or PAGE_MAX, PAGE_MAX)

        def ready(error: RaftlogError | None) -> None:
            if error is not None:
                reply(error)
                return
            page: list[GroupState] = []
            looked_at = 0
            groups = self._machine.groups.after(after, count + 1)
            for group in groups[:count]:
                if page and looked_at > PAGE_QUEUES_MAX:
                    break
                page.append(state_of(self._machine, group))
                looked_at += len(page[-1].queues)
            oldest = [self._unread.oldest(state.behind) for state in page]
            more, now_ms = len(page) < len(groups), self._now_ms()

            def found(times: Mapping[Wanted, int]) -> None:
                aged = [
                    msgspec.structs.replace(state, unread_ms={each: times[each] for each in first})
                    for state, first in zip(page, oldest, strict=True)
                ]
                reply(Page(aged, more, now_ms))

            self._unread.find(chain.from_iterable(oldest), found)

        self._replica.read_index(ready)

    def _now_ms(self) -> int:
        return max(self._log_time_ms(), self._machine.log_time_ms)


def state_of(machine: BrokerMachine, group: Group) -> GroupState:
    """Return how a group is now; its age is left out."""
    claims = dict(machine.claims.of_group(group.name))
    owners, shares = group.owners, machine.groups.shares.of_group(group.name)
    members = tuple(member for _, member in sorted(group.members.items()))
    read = set(group.queues)
    rows = []
    for number in sorted(claims.keys() | owners.keys() | read):
        queue = machine.queues.get(number)
        if queue is None:  # its topic was deleted
            continue
        claim = claims.get(number)
        rows.append(
            GroupQueue(
                number,
                queue.topic,
                queue.place,
                owners.get(number, ""),
                None if claim is None else claim.committed,
                queue.start_offset,
                queue.end_offset,
                shares[number].heir if number in shares else "",
                number in read,
            )
        )
    return GroupState(group.name, group.generation, group.subscription, members, tuple(rows))
