"""Consumer groups: members come and go by commits; groups are looked at linearizably.

A group's lag is told in records and as a time (``unread``): how long the oldest record that it
has not committed has been there.

That a member *lives* is no state (ruling 25): see ``sessions``.
"""

from collections.abc import Callable, Mapping
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
from raftlog.service.proposing import Reply, look, propose
from raftlog.service.sessions import Sessions
from raftlog.service.unread import UnreadTimes
from raftlog.wire.filters import RecordFilter

PAGE_MAX: Final = 500
"""Rows in one answer to a list."""
PAGE_QUEUES_MAX: Final = 10_000
"""Queues that are looked at for one page: a longer look would hold up heartbeats."""


class GroupQueue(msgspec.Struct, frozen=True, gc=False):
    """A queue of a group: assigned, or with a committed offset (else None)."""

    queue: int
    topic: str
    place: int
    owner: str
    committed: Offset | None
    start_offset: Offset
    end_offset: Offset
    heir: str = ""
    """Who gets it once the owner has released it."""

    @property
    def first_unread(self) -> Offset:
        """Offset of the first record that was not committed as read; the end if there is none."""
        return max(self.committed or self.start_offset, self.start_offset)

    @property
    def lag(self) -> int:
        """Records that are there to be read and were not committed as read."""
        return self.end_offset - self.first_unread


class GroupState(msgspec.Struct, frozen=True):
    """A group as it is described."""

    name: str
    generation: int
    subscription: Subscription
    members: tuple[Member, ...]
    """In the order of their ids, whichever replica answers."""
    queues: tuple[GroupQueue, ...]
    unread_ms: Mapping[int, int] = {}
    """For each queue with a lag, when its first unread record was stored."""
    now_ms: int = 0
    """What time it was, for those."""

    @property
    def lag(self) -> int:
        """Records that its queues have and that it has not read."""
        return sum(queue.lag for queue in self.queues)


class Page(msgspec.Struct, frozen=True):
    """Groups in the order of their names, and whether there are more."""

    groups: list[GroupState]
    more: bool


class GroupService:
    """The consumer groups of one shard."""

    def __init__(
        self,
        replica: ShardReplica,
        machine: BrokerMachine,
        sessions: Sessions,
        unread: UnreadTimes,
        wall_ms: Callable[[], int],
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._sessions: Final = sessions
        self._unread: Final = unread
        self._wall_ms: Final = wall_ms

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

    def describe(self, name: str, reply: Reply[GroupState]) -> None:
        """Tell a group's members, queues and lag; ``GroupNotFound`` if there is none."""

        def ready(error: RaftlogError | None) -> None:
            if error is not None:
                reply(error)
                return
            group = self._machine.groups.get(name)
            if group is None:
                reply(GroupNotFound(f"there is no consumer group {name!r}"))
                return
            state = self._state(group)
            now_ms = max(self._wall_ms(), self._machine.log_time_ms)

            def found(times: Mapping[int, int]) -> None:
                reply(msgspec.structs.replace(state, unread_ms=times, now_ms=now_ms))

            behind = ((row.queue, row.first_unread) for row in state.queues if row.lag)
            self._unread.find(behind, found)

        self._replica.read_index(ready)

    def list(self, after: str, count_max: int, reply: Reply[Page]) -> None:
        """Tell the groups whose names come after ``after``, at most ``count_max`` (0: 500).

        A page may be shorter than asked for; ``more`` says whether it is the last.
        """
        count = min(count_max or PAGE_MAX, PAGE_MAX)

        def answer() -> Page:
            page: list[GroupState] = []
            looked_at = 0
            found = self._machine.groups.after(after, count + 1)
            for group in found[:count]:
                if page and looked_at > PAGE_QUEUES_MAX:
                    break
                page.append(self._state(group))
                looked_at += len(page[-1].queues)
            return Page(page, len(page) < len(found))

        look(self._replica, answer, reply)

    def _state(self, group: Group) -> GroupState:
        claims = dict(self._machine.claims.of_group(group.name))
        owners, shares = group.owners, self._machine.groups.shares.of_group(group.name)
        members = tuple(member for _, member in sorted(group.members.items()))
        rows = []
        for number in sorted(claims.keys() | owners.keys()):
            queue = self._machine.queues.get(number)
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
                )
            )
        return GroupState(group.name, group.generation, group.subscription, members, tuple(rows))
