"""Consumer groups, stream style: who is a member, and who reads which queue.

Every change of members or queues begins a *generation* with a new assignment,
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
from raftlog.broker.values import Name


class JoinGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Become a member, or change a member's topics. Outcome: ``Assignment``.

    The member's id is drawn by the client, so that asking again is harmless:
    a member that joins again unchanged begins no generation.
    """

    group: str
    member: str
    topics: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=GROUP_TOPICS_MAX)]
    session_ms: Annotated[int, msgspec.Meta(ge=SESSION_MS_MIN, le=SESSION_MS_MAX)]
    client: Name = ""

    def __post_init__(self) -> None:
        """Refuse a name that no group or member can have, and a topic named twice."""
        check_name(self.group, "group")
        check_name(self.member, "member")
        if len(set(self.topics)) != len(self.topics):
            raise BadRequest(f"member {self.member!r} names a topic twice")


class LeaveGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member left, or was silent for too long. Outcome: ``GroupLeft``, also if it was none."""

    group: Name
    member: Name
    expired: bool = False


class DeleteGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Forget a group without members, and its offsets. Outcome: ``GroupDeleted``."""

    group: Name


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """What one member reads in one generation: (queue, topic, place in the topic)."""

    generation: int
    queues: tuple[tuple[int, str, int], ...]


class GroupLeft(msgspec.Struct, frozen=True, gc=False):
    """The member is none (any more)."""


class GroupDeleted(msgspec.Struct, frozen=True, gc=False):
    """The group is forgotten."""


# -- behaviour


class Member(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member of a group. A row of state."""

    group: str
    id: str
    topics: tuple[str, ...]
    """In the order of names. One may have been deleted meanwhile, and may come back."""
    session_ms: int
    client: str


class GroupRow(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What of a group is state beside its members."""

    name: str
    generation: int


class Group:
    """One group: its generation, and what follows from its members and the topics.

    Attributes:
        members: By id.
    """

    __slots__ = ("_readers", "_topics", "generation", "members", "name")

    def __init__(self, name: str, generation: int, topics: Topics) -> None:
        self.name: Final = name
        self.generation = generation
        self.members: Final[dict[str, Member]] = {}
        self._topics: Final = topics
        self._readers: Final[dict[str, list[str]]] = {}
        """For each topic the ids of the members that subscribe to it, in order."""

    @property
    def owners(self) -> Mapping[int, str]:
        """Which member reads which queue, by queue number."""
        owned: dict[int, str] = {}
        for member in self.members:
            for queue, _, _ in self.assignment(member).queues:
                owned[queue] = member
        return owned

    @property
    def topics(self) -> Iterable[str]:
        """The topics that somebody subscribes to."""
        return self._readers.keys()

    def assignment(self, member: str) -> Assignment:
        """Return what a member reads in this generation.

        Raises:
            UnknownMember: It is none.
        """
        known = self.members.get(member)
        if known is None:
            raise UnknownMember(f"{member!r} is no member of group {self.name!r}; join again")
        queues: list[tuple[int, str, int]] = []
        for name in known.topics:
            topic = self._topics.get(name)
            if topic is not None:
                readers = self._readers[name]
                position = bisect_left(readers, member)
                places = places_of(position, members=len(readers), queues=len(topic.queues))
                queues.extend((topic.queues[place], name, place) for place in places)
        return Assignment(self.generation, tuple(queues))

    def add(self, member: Member) -> None:
        """Add a member that is none."""
        self.members[member.id] = member
        for topic in member.topics:
            insort(self._readers.setdefault(topic, []), member.id)

    def remove(self, member: str) -> Member:
        """Remove a member."""
        removed = self.members.pop(member)
        for topic in removed.topics:
            readers = self._readers[topic]
            readers.remove(member)
            if not readers:
                del self._readers[topic]
        return removed


def _encode_group(group: Group) -> bytes:
    return msgspec.msgpack.encode(GroupRow(group.name, group.generation))


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
        """For each topic the groups with a member that subscribes to it."""
        self._regrouped: set[str] = set()

    def load(
        self, groups: Iterable[GroupRow], members: Iterable[Member], last_deleted: int
    ) -> None:
        """Start from a snapshot."""
        self.table.load(
            (row.name, Group(row.name, row.generation, self._topics)) for row in groups
        )
        self.members.load(((row.group, row.id), row) for row in members)
        self._subscribed.clear()
        for member in self.members.rows.values():
            self._add(self.table.rows[member.group], member)
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
            LimitReached: Too many groups or members.
        """
        topics = tuple(sorted(self._topics.find(name).name for name in command.topics))
        group = self.table.get(command.group)
        before = None if group is None else group.members.get(command.member)
        if before is None:
            self._check_room(command.group, group)
        member = Member(
            *(command.group, command.member, topics, command.session_ms, command.client)
        )
        if group is None:
            group = Group(command.group, self.last_deleted, self._topics)
            self.table.put(group.name, group)
        if before != member:
            if before is not None:
                self._remove(group, command.member)
            self.members.put((group.name, member.id), member)
            self._add(group, member)
        if before is None or before.topics != topics:
            self.begin_generation(group)
        return group.assignment(command.member)

    def leave(self, command: LeaveGroup) -> GroupLeft:
        """Let a member go, if it is one."""
        group = self.table.get(command.group)
        if group is not None and command.member in group.members:
            self._remove(group, command.member)
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
            self.begin_generation(self.table.rows[name])

    def _check_room(self, name: str, group: Group | None) -> None:
        if group is None and len(self.table) >= GROUPS_MAX:
            raise LimitReached(f"there are {len(self.table)} groups; {GROUPS_MAX} may be")
        if group is not None and len(group.members) >= GROUP_MEMBERS_MAX:
            raise LimitReached(f"group {name!r} has {GROUP_MEMBERS_MAX} members, all it may have")
        if len(self.members) >= MEMBERS_MAX:
            raise LimitReached(f"the groups have {MEMBERS_MAX} members, all they may have")

    def _add(self, group: Group, member: Member) -> None:
        group.add(member)
        for topic in member.topics:
            self._subscribed.setdefault(topic, set()).add(group.name)

    def _remove(self, group: Group, member: str) -> None:
        removed = group.remove(member)
        for topic in set(removed.topics).difference(group.topics):
            groups = self._subscribed[topic]
            groups.remove(group.name)
            if not groups:
                del self._subscribed[topic]
