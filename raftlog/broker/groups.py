"""Consumer groups, stream style: who is a member, and who reads which queue.

A group has one *subscription*: topics and a filter, with a version. Its first member sets
it; a member with another one is refused, and ``SetSubscription`` alone changes it. So no
two members of a group ever disagree about what it reads.

Every change of members, queues or subscription begins a *generation* with a new assignment,
made in apply. Heartbeats are not state: the leader's service counts them and
proposes ``LeaveGroup`` for a member that has been silent (ruling 25).
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Annotated, Final

import msgspec

from raftlog.base.errors import (
    BadRequest,
    GroupInUse,
    GroupNotFound,
    LimitReached,
    SubscriptionConflict,
    UnknownMember,
)
from raftlog.base.limits import (
    GROUP_MEMBERS_MAX,
    GROUP_TOPICS_MAX,
    GROUPS_MAX,
    MEMBERS_MAX,
    SESSION_MS_MAX,
    SESSION_MS_MIN,
)
from raftlog.base.names import check_name
from raftlog.broker.assignment import places_of
from raftlog.broker.table import Table
from raftlog.broker.topics import Topics
from raftlog.broker.values import Count, Name
from raftlog.wire.filters import EVERYTHING, RecordFilter

_Topics = Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=GROUP_TOPICS_MAX)]


class JoinGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Become a member. Outcome: ``Assignment``.

    The member's id is drawn by the client, so that asking again is harmless:
    a member that joins again unchanged begins no generation.
    """

    group: str
    member: str
    topics: _Topics
    session_ms: Annotated[int, msgspec.Meta(ge=SESSION_MS_MIN, le=SESSION_MS_MAX)]
    client: Name = ""
    wanted: RecordFilter = EVERYTHING

    def __post_init__(self) -> None:
        """Refuse a name that no group or member can have, and a topic named twice."""
        check_name(self.group, "group")
        check_name(self.member, "member")
        if len(set(self.topics)) != len(self.topics):
            raise BadRequest(f"member {self.member!r} names a topic twice")


class SetSubscription(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Change what a group reads, for all its members. Outcome: ``SubscriptionSet``.

    Harmless when it is asked again: what the group reads already changes nothing.
    """

    group: Name
    topics: _Topics
    wanted: RecordFilter = EVERYTHING
    version: Count = 0
    """Which version it is to replace; 0: whichever there is."""

    def __post_init__(self) -> None:
        """Refuse a topic named twice."""
        if len(set(self.topics)) != len(self.topics):
            raise BadRequest("a subscription names a topic twice")


class LeaveGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member left, or was silent for too long. Outcome: ``GroupLeft``, also if it was none."""

    group: Name
    member: Name
    expired: bool = False


class DeleteGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Forget a group without members, and its offsets. Outcome: ``GroupDeleted``."""

    group: Name


class Subscription(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a group reads. A part of its row.

    Attributes:
        topics: In the order of names. One may have been deleted meanwhile, and may come back.
        wanted: Which of their records.
        version: Raised by every change; 0: nobody has said yet what the group reads.
    """

    topics: tuple[str, ...] = ()
    wanted: RecordFilter = EVERYTHING
    version: int = 0

    def __str__(self) -> str:
        """Show it to people."""
        return f"{', '.join(self.topics)} ({self.wanted})"


class Assignment(msgspec.Struct, frozen=True):
    """What one member reads in one generation: (queue, topic, place in the topic)."""

    generation: int
    queues: tuple[tuple[int, str, int], ...]
    subscription: Subscription = Subscription()


class SubscriptionSet(msgspec.Struct, frozen=True, gc=False):
    """The group reads what was asked for, in this version and from this generation on."""

    version: int
    generation: int


class GroupLeft(msgspec.Struct, frozen=True, gc=False):
    """The member is none (any more)."""


class GroupDeleted(msgspec.Struct, frozen=True, gc=False):
    """The group is forgotten."""


# -- behaviour


class Member(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member of a group. A row of state."""

    group: str
    id: str
    session_ms: int
    client: str


class GroupRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What of a group is state beside its members."""

    name: str
    generation: int
    subscription: Subscription = Subscription()


class Group:
    """One group: its generation, and what follows from its members and the topics.

    Attributes:
        members: By id.
        subscription: What it reads.
    """

    __slots__ = ("_ids", "_topics", "generation", "members", "name", "subscription")

    def __init__(self, row: GroupRow, topics: Topics) -> None:
        self.name: Final = row.name
        self.generation = row.generation
        self.subscription = row.subscription
        self.members: Final[dict[str, Member]] = {}
        self._topics: Final = topics
        self._ids: Final[list[str]] = []
        """Of the members, in order."""

    @property
    def owners(self) -> Mapping[int, str]:
        """Which member reads which queue, by queue number."""
        owned: dict[int, str] = {}
        for member in self.members:
            for queue, _, _ in self.assignment(member).queues:
                owned[queue] = member
        return owned

    def assignment(self, member: str) -> Assignment:
        """Return what a member reads in this generation.

        Raises:
            UnknownMember: It is none.
        """
        if member not in self.members:
            raise UnknownMember(f"{member!r} is no member of group {self.name!r}; join again")
        queues: list[tuple[int, str, int]] = []
        position = bisect_left(self._ids, member)
        for name in self.subscription.topics:
            topic = self._topics.get(name)
            if topic is not None:
                places = places_of(position, members=len(self._ids), queues=len(topic.queues))
                queues.extend((topic.queues[place], name, place) for place in places)
        return Assignment(self.generation, tuple(queues), self.subscription)

    def put(self, member: Member) -> None:
        """Add a member, or note what it changed."""
        if member.id not in self.members:
            insort(self._ids, member.id)
        self.members[member.id] = member

    def remove(self, member: str) -> None:
        """Remove a member."""
        del self.members[member]
        self._ids.remove(member)


def _encode_group(group: Group) -> bytes:
    return msgspec.msgpack.encode(GroupRow(group.name, group.generation, group.subscription))


class Groups:
    """The consumer groups of one shard, by name.

    A group that is deleted and begun again goes on with later generations than
    any deleted group had, so that nobody's late claim is ahead of its members.
    """

    def __init__(self, topics: Topics) -> None:
        self.table: Final[Table[str, Group]] = Table(_encode_group)
        self.members: Final[Table[tuple[str, str], Member]] = Table()
        self.last_deleted = 0
        """The highest generation of a deleted group."""
        self._topics = topics
        self._subscribed: Final[dict[str, set[str]]] = {}
        """For each topic the groups that subscribe to it."""
        self._regrouped: set[str] = set()

    def load(
        self, groups: Iterable[GroupRow], members: Iterable[Member], last_deleted: int
    ) -> None:
        """Start from a snapshot."""
        self.table.load((row.name, Group(row, self._topics)) for row in groups)
        self.members.load(((row.group, row.id), row) for row in members)
        self._subscribed.clear()
        for group in self.table.rows.values():
            self._subscribe(group)
        for member in self.members.rows.values():
            self.table.rows[member.group].put(member)
        self.last_deleted = last_deleted

    def get(self, name: str) -> Group | None:
        """Return the group, or None."""
        return self.table.get(name)

    def find(self, name: str) -> Group:
        """Return the group.

        Raises:
            GroupNotFound: There is none.
        """
        group = self.table.get(name)
        if group is None:
            raise GroupNotFound(f"there is no consumer group {name!r}")
        return group

    def after(self, name: str, count: int) -> list[Group]:
        """Return up to ``count`` groups whose names follow ``name``, in order."""
        return list(islice(self.table.after(name), count))

    def assignment(self, name: str, member: str) -> Assignment:
        """Return what a member reads now.

        Raises:
            UnknownMember: It is no member, or there is no such group.
        """
        group = self.table.get(name)
        if group is None:
            raise UnknownMember(f"there is no group {name!r} any more; join again")
        return group.assignment(member)

    def check_member(self, name: str, member: str) -> None:
        """Check that it is a member now: a late claim must not outlive its group.

        Raises:
            UnknownMember: It is none, or there is no such group.
        """
        group = self.table.get(name)
        if group is None or member not in group.members:
            raise UnknownMember(f"{member!r} is no member of group {name!r}; join again")

    def take_regrouped(self) -> set[str]:
        """Return the groups whose generation has changed, or that went, since the last call."""
        regrouped, self._regrouped = self._regrouped, set()
        return regrouped

    def join(self, command: JoinGroup) -> Assignment:
        """Take a member in, or note what it changed.

        Raises:
            TopicNotFound: It subscribes to a topic that does not exist.
            SubscriptionConflict: The group reads something else.
            LimitReached: Too many groups or members.
        """
        subscription = self._subscription(command.topics, command.wanted, version=1)
        group = self.table.get(command.group)
        before = None if group is None else group.members.get(command.member)
        if group is not None:
            _check_same(group, subscription)
        if before is None:
            self._check_room(command.group, group)
        if group is None:
            row = GroupRow(command.group, self.last_deleted, subscription)
            group = Group(row, self._topics)
            self.table.put(group.name, group)
            self._subscribe(group)
        member = Member(command.group, command.member, command.session_ms, command.client)
        if before != member:
            self.members.put((group.name, member.id), member)
            group.put(member)
        if before is None:
            self.begin_generation(group)
        return group.assignment(command.member)

    def subscribe(self, command: SetSubscription) -> SubscriptionSet:
        """Change what a group reads.

        Raises:
            GroupNotFound: There is none.
            TopicNotFound: One of the topics does not exist.
            SubscriptionConflict: Its version is not the one that is to be replaced.
        """
        group = self.find(command.group)
        known = group.subscription
        wanted = self._subscription(command.topics, command.wanted, version=known.version + 1)
        if (wanted.topics, wanted.wanted) != (known.topics, known.wanted):
            if command.version not in (0, known.version):
                raise SubscriptionConflict(
                    f"group {group.name!r} is at version {known.version} of its subscription, "
                    f"not {command.version}; it reads {known}"
                )
            self._unsubscribe(group)
            self.table.touch(group.name)
            group.subscription = wanted
            self._subscribe(group)
            self.begin_generation(group)
        return SubscriptionSet(group.subscription.version, group.generation)

    def leave(self, command: LeaveGroup) -> GroupLeft:
        """Let a member go, if it is one."""
        group = self.table.get(command.group)
        if group is not None and command.member in group.members:
            group.remove(command.member)
            self.members.delete((command.group, command.member))
            self.begin_generation(group)
        return GroupLeft()

    def delete(self, command: DeleteGroup) -> GroupDeleted:
        """Forget a group.

        Raises:
            GroupNotFound: There is none.
            GroupInUse: It has members.
        """
        group = self.find(command.group)
        if group.members:
            raise GroupInUse(f"group {group.name!r} has {len(group.members)} members")
        self._unsubscribe(group)
        self.table.delete(group.name)
        self.last_deleted = max(self.last_deleted, group.generation)
        self._regrouped.add(group.name)
        return GroupDeleted()

    def begin_generation(self, group: Group) -> int:
        """Begin a generation, so that whoever read in an earlier one is fenced."""
        self.table.touch(group.name)
        group.generation += 1
        self._regrouped.add(group.name)
        return group.generation

    def readers_of(self, topic: str) -> set[str]:
        """Return the groups with members that read a topic."""
        return set(self._subscribed.get(topic, ()))

    def topic_changed(self, topic: str) -> None:
        """A topic came, went or has more queues: its readers share it out anew."""
        for name in self._subscribed.get(topic, ()):
            group = self.table.rows[name]
            if group.members:
                self.begin_generation(group)

    def _check_room(self, name: str, group: Group | None) -> None:
        if group is None and len(self.table) >= GROUPS_MAX:
            raise LimitReached(f"there are {len(self.table)} groups; {GROUPS_MAX} may be")
        if group is not None and len(group.members) >= GROUP_MEMBERS_MAX:
            raise LimitReached(f"group {name!r} has {GROUP_MEMBERS_MAX} members, all it may have")
        if len(self.members) >= MEMBERS_MAX:
            raise LimitReached(f"the groups have {MEMBERS_MAX} members, all they may have")

    def _subscription(
        self, topics: Iterable[str], wanted: RecordFilter, version: int
    ) -> Subscription:
        names = tuple(sorted(self._topics.find(name).name for name in topics))
        return Subscription(names, wanted, version)

    def _subscribe(self, group: Group) -> None:
        for topic in group.subscription.topics:
            self._subscribed.setdefault(topic, set()).add(group.name)

    def _unsubscribe(self, group: Group) -> None:
        for topic in group.subscription.topics:
            groups = self._subscribed[topic]
            groups.remove(group.name)
            if not groups:
                del self._subscribed[topic]


def _check_same(group: Group, asked: Subscription) -> None:
    known = group.subscription
    if (asked.topics, asked.wanted) != (known.topics, known.wanted):
        raise SubscriptionConflict(
            f"group {group.name!r} reads {known}, version {known.version}; this member wants "
            f"{asked}"
        )
