"""Members of groups, some of whom fall asleep, leave, or are started again under their name.

A member joins, claims what it is assigned, reads from where the claim says, and
commits what it was given. Sometimes it stands still, is thrown out, wakes up and
commits: then it is a zombie and must be fenced. It never gives up by itself; a
new life of it has a new name, or, of a static member, a higher number.

A cooperative group's member that is to let go of a queue reads no more of it, commits
what it was given, and releases it.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from google.protobuf.message import Message

from chaos.sim.client_world import ClientWorld
from chaos.sim.consumers import QueueReader
from chaos.sim.events import MS_NS
from chaos.sim.wishes import WISHES, Wanted
from raftlog.base.assignors import COOPERATIVE
from raftlog.base.errors import Fenced, OutcomeUnknown, RaftlogError, UnknownMember, WrongQueue
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups, producers


class Identity(NamedTuple):
    """As whom something is asked: it may be late, and come from an earlier life."""

    member: str
    life: int


class Held(NamedTuple):
    """A queue of this member: since when, where it goes on, and what is committed (-1: nothing).

    Of what is committed only members know that commit nothing beside transactions.
    """

    since: int
    position: int
    committed: int = -1


class GroupMember(QueueReader):
    """One member of a group, through all its lives."""

    several_share = 0.2
    """Commits that are of all queues that a member was given together."""

    def __init__(
        self,
        world: ClientWorld,
        name: str,
        group: str,
        topics: Sequence[str],
        *,
        is_static: bool = False,
    ) -> None:
        super().__init__(world, name)
        self.group: Final = group
        self._topics = topics
        place = list(world.config.groups).index(group)
        self._wanted = (None, *WISHES)[place % (1 + len(WISHES))]
        """The subscription of its group: the same for all of its members."""
        self._assignor = world.config.assignors[place] if world.config.assignors else ""
        if self._assignor == COOPERATIVE:
            world.facts.hand_overs.cooperative.add(group)
        self._is_static = is_static
        self._lives = 0
        self._number = 0
        """Of this life, of a static member."""
        self._generation = 0
        self._held: dict[int, Held] = {}
        self._releasing: dict[int, int] = {}
        """Queues that are to go, and the generations of their revocations."""

    @property
    def identity(self) -> Identity:
        """Who this is in this life."""
        member = self.name if self._is_static else f"{self.name}.{self._lives}"
        return Identity(member, self._number)

    def start(self) -> None:
        """Join."""
        self._lives += 1
        self._held, self._releasing = {}, {}
        if self._is_static:
            self._draw(self._lives)
        else:
            self._join(self._lives)

    def _lives_on(self, life: int) -> bool:
        return life == self._lives and not self.world.members_stopped

    def _again(self, life: int, act: Callable[[int], None]) -> None:
        self.world.soon(lambda: act(life) if self._lives_on(life) else None)

    # -- membership

    def _draw(self, life: int) -> None:
        """Draw the number of this life: higher than those before it."""

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if not self._lives_on(life):
                return
            if error is not None:
                self._again(life, self._draw)
                return
            assert isinstance(answer, producers.ProducerBegun), f"answered by {answer!r}"
            self._number = answer.producer
            self._join(life)

        self.ask(Method.PRODUCER_INIT, producers.InitProducer(), done)

    def _join(self, life: int) -> None:
        self._generation = 0

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if not self._lives_on(life):
                return
            if error is not None:
                self._not_joined(life, error)
                return
            assert isinstance(answer, groups.GroupAssignment), f"join answered by {answer!r}"
            self.world.marks["joins"] += 1
            self._adopt(life, answer)
            self._heartbeat(life)

        member, number = self.identity
        topics, wanted, assignor = self._asks()
        message = groups.JoinGroup(
            group=self.group,
            member=member,
            topics=topics,
            session_ms=self.world.config.session_ms,
            client=self.name,
            filter=None if wanted is None else wanted.filter,
            assignor=assignor,
            life=number,
        )
        self.ask(Method.GROUP_JOIN, message, done)

    def _asks(self) -> tuple[Sequence[str], Wanted | None, str]:
        """Return with which topics, filter and assignor it joins."""
        return self._topics, self._wanted, self._assignor

    def _not_joined(self, life: int, _error: RaftlogError) -> None:
        """Try again."""
        self._again(life, self._join)

    def _heartbeat(self, life: int) -> None:
        world = self.world

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if not self._lives_on(life):
                return
            if isinstance(error, UnknownMember):
                world.marks["members expired"] += 1
                self._again(life, self._join)
                return
            if error is None:
                assert isinstance(answer, groups.GroupAssignment), f"answered by {answer!r}"
                self._adopt(life, answer)
            if not world.stopped and world.random.random() < world.config.member_leaves:
                self._leave(life)
            elif not world.stopped and world.random.random() < world.config.member_sleeps:
                world.marks["members asleep"] += 1
                delay_ns = world.random.randrange(500, 6_000) * MS_NS
                world.queue.after(delay_ns, lambda: self._wake(life))
            else:
                self._again(life, self._heartbeat)

        member, number = self.identity
        message = groups.HeartbeatGroup(
            group=self.group,
            member=member,
            generation=self._generation,
            wait_ms=world.random.choice((0, 100, 400)),
            life=number,
        )
        self.ask(Method.GROUP_HEARTBEAT, message, done)

    def _wake(self, life: int) -> None:
        if self._lives_on(life):
            self._heartbeat(life)

    def _leave(self, life: int) -> None:
        """Leave, and come back under another name; or as the next process of a static member."""
        assert life == self._lives, f"life {life} of {self.name} leaves in {self._lives}"
        if self._is_static:
            self.world.marks["static members restarted"] += 1
        else:
            message = groups.LeaveGroup(group=self.group, member=self.identity.member)
            self.ask(Method.GROUP_LEAVE, message, lambda *_: None)
        self._generation = 0
        self.start()

    # -- queues

    def _adopt(self, life: int, answer: groups.GroupAssignment) -> None:
        """Take over what is assigned, in a generation that is news."""
        world, identity = self.world, self.identity
        queues = [each.queue for each in answer.queues]
        told = world.facts.assignments.told
        told(self.group, answer.generation, identity.member, queues)
        if answer.generation <= self._generation:
            return
        self._generation = answer.generation
        known, self._held = self._held, {}
        for each in answer.queues:
            held = known.get(each.queue)
            if each.revoked:
                position = held.position if held is not None else None
                self._let_go(life, each, position)
            elif held is not None and held.since == each.since:
                self._held[each.queue] = held
            else:
                self._commit_early(each.since, each.queue)
                self._claim(life, each.since, each.queue)
        self._releasing = {each.queue: each.revoked for each in answer.queues if each.revoked}

    def _owns(self, life: int, since: int, queue: int) -> bool:
        held = self._held.get(queue)
        return self._lives_on(life) and held is not None and held.since == since

    def _claim(self, life: int, since: int, queue: int) -> None:
        offsets = self.world.facts.groups
        floor = offsets.floor(self.group, queue)
        member, number = self.identity
        generation = self._generation

        def is_news() -> bool:
            return self._lives_on(life) and generation == self._generation

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if isinstance(answer, groups.QueueClaimed):
                committed = None if answer.committed < 0 else answer.committed
                offsets.told(self.group, queue, floor, committed)
                if is_news():
                    position = answer.start_offset if committed is None else committed
                    self._held[queue] = Held(since, position, answer.committed)
                    self._consume(life, since, queue)
            elif is_news() and not isinstance(error, Fenced | WrongQueue):
                self.world.soon(lambda: self._claim(life, since, queue) if is_news() else None)

        message = groups.ClaimQueue(
            group=self.group, member=member, generation=since, queue=queue, life=number
        )
        self.ask(Method.GROUP_CLAIM, message, done)

    def _consume(self, life: int, since: int, queue: int) -> None:
        """Read on; a member that sleeps reads on too, which makes it the worse zombie."""
        world, identity = self.world, self.identity
        offset = self._held[queue].position

        def done(after: int) -> None:
            if not self._owns(life, since, queue):
                return
            self._held[queue] = Held(since, after)
            if after > offset:
                world.facts.groups.gives(self.group, queue, offset, after)
                self._commit_later(identity, since, queue, after)
            world.soon(
                lambda: (
                    self._consume(life, since, queue) if self._owns(life, since, queue) else None
                )
            )

        self.read(queue, offset, done, self._wanted)

    def _let_go(self, life: int, row: groups.AssignedQueue, position: int | None) -> None:
        """Commit what was given of a queue that is to go, and release it."""
        if self._releasing.get(row.queue) == row.revoked:
            return
        if position is not None:
            self._commit(self.identity, row.since, row.queue, position)
        self.world.soon(lambda: self._release(life, row.queue, row.revoked))

    def _release(self, life: int, queue: int, revoked: int) -> None:
        if not self._lives_on(life) or self._releasing.get(queue) != revoked:
            return

        def done(
            _answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is not None and (error.retriable or isinstance(error, OutcomeUnknown)):
                self.world.soon(lambda: self._release(life, queue, revoked))

        member, number = self.identity
        message = groups.ReleaseQueues(
            group=self.group,
            member=member,
            queues=[groups.RevokedQueue(queue=queue, revoked=revoked)],
            life=number,
        )
        self.ask(Method.GROUP_RELEASE, message, done)

    def _commit_later(self, identity: Identity, since: int, queue: int, offset: int) -> None:
        """Commit what was given: soon, or so late that somebody else has the queue."""
        world = self.world
        asleep = not world.stopped and world.random.random() < world.config.commits_late
        delay_ms = world.random.randrange(1_000, 7_000) if asleep else world.random.randrange(100)
        world.queue.after(delay_ms * MS_NS, lambda: self._commit(identity, since, queue, offset))

    def _commit_early(self, since: int, queue: int) -> None:
        """Commit what is committed, without a claim of this generation: it must be refused."""
        world = self.world
        if world.random.random() < world.config.commits_late:
            offset = world.facts.groups.committed.get((self.group, queue), 0)
            self._commit(self.identity, since, queue, offset)

    def _beside(self, since: int, queue: int) -> Sequence[tuple[int, int]]:
        """Return what else is committed with ``queue``: all or none of it."""
        if self.world.random.random() >= self.several_share:
            return ()
        others = [(each, held) for each, held in self._held.items() if each != queue]
        return [(each, held.position) for each, held in others if held.since == since]

    def _commit(self, identity: Identity, since: int, queue: int, offset: int) -> None:
        if self.world.members_stopped:
            return
        rows = [
            (queue, offset),
            *(self._beside(since, queue) if identity == self.identity else ()),
        ]
        self.world.marks["commits of several queues"] += len(rows) > 1
        message = groups.CommitOffsets(
            group=self.group,
            member=identity.member,
            generation=since,
            life=identity.life,
            offsets=[groups.QueueOffset(queue=each, offset=after) for each, after in rows],
        )

        def done(
            _answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                for each, after in rows:
                    self.world.facts.groups.acked(self.group, each, after)
            elif isinstance(error, Fenced):
                self.world.marks["zombies fenced"] += 1
            elif (
                identity == self.identity
                and (held := self._held.get(queue)) is not None
                and held.since == since
                and (error.retriable or isinstance(error, OutcomeUnknown))
            ):  # to commit the same once more does no harm
                self._commit_later(identity, since, queue, offset)

        self.ask(Method.GROUP_COMMIT, message, done)
