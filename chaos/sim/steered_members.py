"""A group whose members want different things, and somebody who says by hand what it reads.

::

    a joins: orders          a, b leave         c joins: events       "orders, filter n < 3"
    version 1, orders ...........................version 2, events ... version 3, by hand
    b joins: events --> a conflict; it joins with what the group reads, or leaves it for now

The hand names the version that it replaces, or none, or an old one: then it is too late. In the
end it says that everything is read, and members do as it says.
"""

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import Message

from chaos.check.subscriptions_kept import Reads
from chaos.sim.client_world import Client, ClientWorld
from chaos.sim.events import MS_NS, SECOND_NS
from chaos.sim.group_members import GroupMember
from chaos.sim.steered_work import SAYS_PER_S, STEERED
from chaos.sim.subscription_facts import told_by
from chaos.sim.wishes import WISHES, Wanted
from raftlog.base.assignors import ASSIGNORS, COOPERATIVE
from raftlog.base.errors import (
    GroupNotFound,
    OutcomeUnknown,
    RaftlogError,
    SubscriptionConflict,
    TopicNotFound,
)
from raftlog.wire.filters import record_filter
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, groups

AGAIN_NS: Final = 500 * MS_NS


def _draw_reads(world: ClientWorld) -> Reads:
    """Return something to read: some topics, a filter or none, perhaps how it is shared out."""
    random, topics = world.random, world.config.topics
    names = random.choice((topics, *((name,) for name in topics)))
    wanted = random.choice((None, None, *WISHES))
    assignor = random.choice(("", "", *ASSIGNORS, COOPERATIVE))
    return _reads(names, None if wanted is None else wanted.filter, assignor)


def _reads(topics: Sequence[str], filter_: client.RecordFilter | None, assignor: str) -> Reads:
    wanted = record_filter() if filter_ is None else record_filter(filter_.tags, filter_.condition)
    return Reads(tuple(sorted(topics)), wanted.tags, wanted.condition, assignor)


def _everything(world: ClientWorld) -> Reads:
    return _reads(world.config.topics, None, "")


def _wish_of(reads: Reads) -> Wanted | None:
    """Return the filter of what is read, and what it means; None: there is none."""
    if not reads.tags and not reads.condition:
        return None
    [found] = [each for each in WISHES if _reads((), each.filter, "")[1:3] == reads[1:3]]
    return found


class SteeredMember(GroupMember):
    """A member of ``STEERED``. It reads what it is told that the group reads."""

    def __init__(
        self, world: ClientWorld, name: str, topics: Sequence[str], *, is_static: bool
    ) -> None:
        super().__init__(world, name, STEERED, topics, is_static=is_static)
        self._is_turned_away = False

    def _asks(self) -> tuple[Sequence[str], Wanted | None, str]:
        world = self.world
        told = world.facts.subscriptions.now(STEERED)
        reads = _everything(world) if world.stopped else _draw_reads(world)
        gives_in = world.stopped or self._is_turned_away or world.random.random() < 0.4
        if told is not None and gives_in:
            reads = told.reads
        return reads.topics, _wish_of(reads), reads.assignor

    def _not_joined(self, life: int, error: RaftlogError) -> None:
        self._is_turned_away = isinstance(error, SubscriptionConflict)
        super()._not_joined(life, error)

    def _adopt(self, life: int, answer: groups.GroupAssignment) -> None:
        self._is_turned_away = False
        told = told_by(answer.subscription)
        topics = [each.topic for each in answer.queues if not each.revoked]
        self.world.facts.subscriptions.seen(STEERED, answer.generation, told, topics)
        if answer.generation > self._generation:
            self._wanted = _wish_of(told.reads)
        super()._adopt(life, answer)


class Steersman(Client):
    """Says by hand what ``STEERED`` reads."""

    def start(self) -> None:
        """Begin, or let members have their say for a while."""
        random = self.world.random
        per_second = random.choice(SAYS_PER_S)
        self.world.queue.after(
            random.choice((0, 9)) * SECOND_NS,
            lambda: self.world.every(per_second, self._say_something),
        )

    def stop(self) -> None:
        """Let everything be read, again and again: what was said before may come late."""
        if self.world.members_stopped:
            return
        if self.why_not_ended() is not None:
            self._say(_everything(self.world), 0)
        self.world.queue.after(AGAIN_NS, self.stop)

    def why_not_ended(self) -> str | None:
        """Return what it would rather have the group read, or None."""
        told = self.world.facts.subscriptions.now(STEERED)
        wanted = _everything(self.world)
        if told is None or told.reads[:3] == wanted[:3]:
            return None
        return f"{STEERED} reads {told}, not {wanted}"

    def _say_something(self) -> None:
        random = self.world.random
        told = self.world.facts.subscriptions.now(STEERED)
        version = 0 if told is None else random.choice((0, told.version, told.version - 1))
        reads = _draw_reads(self.world)
        if told is not None and random.random() < 0.3:
            reads = told.reads  # which is to stay
        self._say(reads, max(0, version))

    def _say(self, reads: Reads, version: int, tries: int = 3) -> None:
        self.world.facts.subscriptions.says(STEERED, reads, version)
        is_there = all(topic in self.world.topics for topic in reads.topics)

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                assert isinstance(answer, groups.SubscriptionSet), f"answered by {answer!r}"
                return
            fails = error.retriable or isinstance(error, OutcomeUnknown)
            is_refused = isinstance(error, GroupNotFound | SubscriptionConflict)
            is_refused = is_refused or (isinstance(error, TopicNotFound) and not is_there)
            assert fails or is_refused, f"{reads} is answered by {error!r}"
            if fails and tries:
                self.world.soon(lambda: self._say(reads, version, tries - 1))

        message = groups.SetSubscription(
            group=STEERED,
            topics=reads.topics,
            filter=client.RecordFilter(tags=reads.tags, condition=reads.condition),
            version=version,
            assignor=reads.assignor,
        )
        self.ask(Method.GROUP_SUBSCRIBE, message, done)
