"""Consumer groups, stream style: who is a member, and who reads which queue.

A group has one *subscription*: topics and a filter, with a version. Its first member sets
it; a member with another one is refused. So no two members of a group ever disagree about what
it reads. It is changed for all of them by ``SetSubscription``, and stays then; one that a member
has set goes with the last member: who comes first to a group without members sets another::

    a (orders) joins    a expires     b (payments) joins    b leaves     c (orders) joins
    version 1, orders ..............> version 2, payments ............> version 3, orders
                                      ^ SetSubscription instead of b: c would be refused

Offsets stay whatever the group reads.

Every change of members, queues or subscription begins a *generation* with a new assignment,
made in apply (``assignment``, ``shares``).

A *static* member has a fixed name, and each process that runs as it a *life*: a number that is
higher than those of the processes before it. The newest one takes the member over, with all
its queues and without a generation; the others are fenced.
Heartbeats are not state: the leader's service counts them and
proposes ``LeaveGroup`` for a member that has been silent (ruling 25).
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

import msgspec

from raftlog.base.assignors import COOPERATIVE, RANGE
from raftlog.base.errors import (
    Fenced,
    GroupInUse,
    GroupNotFound,
    GroupStyle,
    LimitReached,
    SubscriptionConflict,
    UnknownMember,
)
from raftlog.base.limits import (
    GROUP_MEMBERS_MAX,
    GROUPS_MAX,
    MEMBERS_MAX,
)
from raftlog.broker.assignment import places_of
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
from raftlog.broker.shares import AssignedQueue, QueuesReleased, ReleaseQueues, Shares
from raftlog.broker.subscriptions import FIRST_VERSION, another, is_by_hand, reads, stored
from raftlog.broker.table import Table
from raftlog.broker.topics import Topics
from raftlog.wire.filters import RecordFilter


class Member(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A member of a group. A row of state."""

    group: str
    id: str
    session_ms: int
    client: str
    life: int = 0


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

    __slots__ = ("_ids", "_shares", "_topics", "generation", "members", "name", "subscription")

    def __init__(self, row: GroupRow, topics: Topics, shares: Shares) -> None:
        self.name: Final = row.name
        self.generation = row.generation
        self.subscription = row.subscription
        self.members: Final[dict[str, Member]] = {}
        self._topics: Final = topics
        self._shares: Final = shares
        self._ids: Final[list[str]] = []
        """Of the members, in order."""

    @property
    def is_ranged(self) -> bool:
        """Whether its assignment follows from members and topics, and is no state."""
        return self.subscription.assignor == RANGE

    @property
    def queues(self) -> list[int]:
        """Numbers of the queues that it reads, topic by topic."""
        topics = (self._topics.get(name) for name in self.subscription.topics)
        return [queue for topic in topics if topic is not None for queue in topic.queues]

    @property
    def owners(self) -> Mapping[int, str]:
        """Which member reads which queue, by queue number."""
        if not self.is_ranged:
            return {queue: row.owner for queue, row in self._shares.of_group(self.name).items()}
        owned: dict[int, str] = {}
        for member in self.members:
            for each in self.assignment(member).queues:
                owned[each.queue] = member
        return owned

    def assignment(self, member: str) -> Assignment:
        """Return what a member reads in this generation.

        Raises:
            UnknownMember: It is none.
        """
        if member not in self.members:
            raise UnknownMember(f"{member!r} is no member of group {self.name!r}; join again")
        queues = self._ranges(member) if self.is_ranged else self._shared(member)
        return Assignment(self.generation, tuple(queues), self.subscription)

    def _ranges(self, member: str) -> Iterable[AssignedQueue]:
        position = bisect_left(self._ids, member)
        for name in self.subscription.topics:
            topic = self._topics.get(name)
            if topic is not None:
                for place in places_of(position, members=len(self._ids), queues=len(topic.queues)):
                    yield AssignedQueue(topic.queues[place], name, place, self.generation)

    def _shared(self, member: str) -> list[AssignedQueue]:
        found = []
        for row in self._shares.of_member(self.name, member):
            queue = self._topics.queues.find(row.queue)
            found.append(
                AssignedQueue(row.queue, queue.topic, queue.place, row.since, row.revoked)
            )
        return sorted(found, key=lambda each: (each.topic, each.place))

    def share_out(self) -> None:
        """Share its queues out, in the generation that begins."""
        if self.is_ranged:
            self._shares.forget(self.name)
            return
        cooperative = self.subscription.assignor == COOPERATIVE
        self._shares.share_out(
            *(self.name, self.queues, self._ids, self.generation), cooperative=cooperative
        )

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
    """Return a ``GroupRow``."""
    return msgspec.msgpack.encode((group.name, group.generation, stored(group.subscription)))


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
        self.shares: Final = Shares()
        self._topics = topics
        self._subscribed: Final[dict[str, set[str]]] = {}
        """For each topic the groups that subscribe to it."""
        self._regrouped: set[str] = set()

    def load(
        self, groups: Iterable[GroupRow], members: Iterable[Member], last_deleted: int
    ) -> None:
        """Start from a snapshot."""
        self.table.load((row.name, Group(row, self._topics, self.shares)) for row in groups)
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

    def check_member(self, name: str, member: str, life: int) -> Group:
        """Check that it is a member now: a late claim must not outlive its group.

        Raises:
            UnknownMember: It is none, or there is no such group.
            Fenced: Another process runs as this member.
        """
        group = self.table.get(name)
        row = None if group is None else group.members.get(member)
        if group is None or row is None or life > row.life:
            raise UnknownMember(f"{member!r} is no member of group {name!r}; join again")
        _check_life(row, life)
        return group

    def check_claim(self, name: str, queue: int, generation: int, member: str, life: int) -> None:
        """Check that a claim may be: of a member, and of a queue that is its own.

        Raises:
            UnknownMember, Fenced: As ``check_member``; or it is somebody else's queue.
        """
        if not self.check_member(name, member, life).is_ranged:
            self.shares.check_claim(name, queue, generation, member)

    def take_regrouped(self) -> set[str]:
        """Return the groups whose generation has changed, or that went, since the last call."""
        regrouped, self._regrouped = self._regrouped, set()
        return regrouped

    def join(self, command: JoinGroup, *, stays: bool = False) -> Assignment:
        """Take a member in, or note what it changed.

        ``stays``: what the group reads does, also without members, as it did at level 2.

        Raises:
            TopicNotFound: It subscribes to a topic that does not exist.
            SubscriptionConflict: It has members that read something else, or share it out
                otherwise; or it was said by hand what it reads.
            Fenced: A later process runs as this member.
            LimitReached: Too many groups, members or queues.
        """
        subscription = self._subscription(
            *(command.topics, command.wanted, FIRST_VERSION, command.assignor)
        )
        group = self.table.get(command.group)
        before = None if group is None else group.members.get(command.member)
        if before is not None:
            _check_life(before, command.life)
        wanted = None
        if group is not None:
            wanted = another(
                *(group.name, group.subscription, subscription),
                is_alone=_is_alone(group, command),
                stays=stays,
            )
            subscription = wanted or group.subscription
        if before is None:
            self._check_room(command.group, group)
        if before is None or wanted is not None:
            self._check_shares(group, subscription)
        if group is None:
            first = msgspec.structs.replace(subscription, assignor=command.assignor or RANGE)
            row = GroupRow(command.group, self.last_deleted, first)
            group = Group(row, self._topics, self.shares)
            self.table.put(group.name, group)
            self._subscribe(group)
        member = Member(
            *(command.group, command.member, command.session_ms, command.client, command.life)
        )
        if before != member:
            self.members.put((group.name, member.id), member)
            group.put(member)
        if wanted is not None:
            self._read(group, wanted)
        elif before is None:
            self.begin_generation(group)
        elif before.life != member.life:  # whoever waits as the process before learns of it
            self._regrouped.add(group.name)
        return group.assignment(command.member)

    def subscribe(self, command: SetSubscription, *, stays: bool = False) -> SubscriptionSet:
        """Change what a group reads. ``stays``: every subscription does, so it is not noted.

        Raises:
            GroupNotFound: There is none.
            TopicNotFound: One of the topics does not exist.
            SubscriptionConflict: Its version is not the one that is to be replaced.
        """
        group = self.find(command.group)
        known = group.subscription
        assignor = command.assignor or known.assignor
        wanted = self._subscription(command.topics, command.wanted, known.version + 1, assignor)
        if reads(wanted) == reads(known):
            if not (known.by_hand or stays):
                self.table.touch(group.name)
                group.subscription = msgspec.structs.replace(known, by_hand=True)
        else:
            if command.version not in (0, known.version):
                raise SubscriptionConflict(
                    f"group {group.name!r} is at version {known.version} of its subscription, "
                    f"not {command.version}; it reads {known}"
                )
            self._check_shares(group, wanted)
            self._read(group, msgspec.structs.replace(wanted, by_hand=not stays))
        return SubscriptionSet(group.subscription.version, group.generation)

    def note_by_hand(self) -> None:
        """From now on what was said by hand stays, and nothing else."""
        for group in self.table.rows.values():
            if is_by_hand(group.subscription):
                self.table.touch(group.name)
                group.subscription = msgspec.structs.replace(group.subscription, by_hand=True)

    def leave(self, command: LeaveGroup) -> GroupLeft:
        """Let a member go, if it is one."""
        group = self.table.get(command.group)
        member = None if group is None else group.members.get(command.member)
        if group is not None and member is not None and member.life == command.life:
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

    def release(self, command: ReleaseQueues) -> QueuesReleased:
        """Give queues that a member has finished with to their heirs.

        Raises:
            UnknownMember, Fenced: As ``check_member``.
        """
        group = self.check_member(command.group, command.member, command.life)
        if self.shares.release(command, group.generation + 1):
            self._next_generation(group)
        return QueuesReleased(group.generation)

    def begin_generation(self, group: Group) -> int:
        """Begin a generation with a new assignment."""
        self._next_generation(group)
        group.share_out()
        return group.generation

    def begin_anew(self, group: Group, queues: Iterable[int]) -> int:
        """Begin a generation in which ``queues`` are claimed again: a seek has moved them."""
        self._next_generation(group)
        self.shares.claim_anew(group.name, queues, group.generation)
        return group.generation

    def _next_generation(self, group: Group) -> None:
        self.table.touch(group.name)
        group.generation += 1
        self._regrouped.add(group.name)

    def readers_of(self, topic: str) -> set[str]:
        """Return the groups with members that read a topic."""
        return set(self._subscribed.get(topic, ()))

    def check_more_queues(self, topic: str, count: int) -> None:
        """Check that the readers of a topic can share out so many more queues.

        Raises:
            LimitReached: They can't.
        """
        readers = (self.table.rows[name] for name in self._subscribed.get(topic, ()))
        self.shares.check_room(
            count * sum(not group.is_ranged and bool(group.members) for group in readers)
        )

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

    def _check_shares(self, group: Group | None, wanted: Subscription) -> None:
        if wanted.assignor in ("", RANGE):
            return
        queues = sum(len(self._topics.find(name).queues) for name in wanted.topics)
        before = 0 if group is None else len(self.shares.of_group(group.name))
        self.shares.check_room(queues - before)

    def _subscription(
        self, topics: Iterable[str], wanted: RecordFilter, version: int, assignor: str
    ) -> Subscription:
        names = tuple(sorted(self._topics.find(name).name for name in topics))
        return Subscription(names, wanted, version, assignor)

    def _read(self, group: Group, wanted: Subscription) -> None:
        """Let a group read something else, from a new generation on."""
        self._unsubscribe(group)
        self.table.touch(group.name)
        group.subscription = wanted
        self._subscribe(group)
        self.begin_generation(group)

    def _subscribe(self, group: Group) -> None:
        for topic in group.subscription.topics:
            self._subscribed.setdefault(topic, set()).add(group.name)

    def _unsubscribe(self, group: Group) -> None:
        for topic in group.subscription.topics:
            groups = self._subscribed[topic]
            groups.remove(group.name)
            if not groups:
                del self._subscribed[topic]


def _is_alone(group: Group, command: JoinGroup) -> bool:
    """Whether nobody else is there: a static member's next life is not somebody else."""
    if not group.members:
        return True
    before = group.members.get(command.member)
    return before is not None and len(group.members) == 1 and before.life < command.life


def _check_life(member: Member, life: int) -> None:
    if life < member.life:
        raise Fenced(
            f"a later process runs as member {member.id!r} of group {member.group!r}: life "
            f"{member.life}, and this one is {life}"
        )


def check_queue_style(groups: Groups, name: str) -> None:
    """Check that a group is not stream-style.

    Raises:
        GroupStyle: It is.
    """
    if groups.get(name) is not None:
        raise GroupStyle(f"group {name!r} is stream-style: raftlog group seek")
