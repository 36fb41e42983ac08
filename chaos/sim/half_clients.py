"""Half messages in the simulator: all who store, decide, check, resolve and read them.

They have a world of their own, with random numbers of their own: in a seed without half
messages nothing is otherwise than before. Owners die, are taken over and go on nevertheless,
and say things twice or too late. In the end all that is open is decided by checks or by hand.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from google.protobuf.message import Message

from chaos.sim.client_world import Client, ClientWorld
from chaos.sim.events import MS_NS, EventQueue, stream
from chaos.sim.half_look import compare
from chaos.sim.half_members import HalfMember, HalfReader, Resolver
from chaos.sim.half_owners import HalfOwner
from chaos.sim.half_work import TOPICS, HalfWork
from raftlog.base.errors import RaftlogError, TopicExists, TopicNotFound
from raftlog.wire.frame import Method
from raftlog.wire.schema import topics

if TYPE_CHECKING:
    from chaos.sim.facts import Facts
    from chaos.sim.process import Process
    from chaos.sim.swarm import BrokerConfig
    from raftlog.base.ids import NodeId

LOOK_NS: Final = 500 * MS_NS


class HalfClients:
    """All of them."""

    def __init__(
        self,
        work: HalfWork,
        queue: EventQueue,
        config: "BrokerConfig",
        facts: "Facts",
        process_of: "Callable[[NodeId], Process | None]",
        nodes: "Sequence[NodeId]",
    ) -> None:
        random = stream(work.seed, "half work")
        config = msgspec.structs.replace(config, ids=0)
        self._facts = facts
        self._work = work
        self._process_of = process_of
        self.world = ClientWorld(queue, random, config, facts, process_of, nodes)
        self._keeper = HalfKeeper(self.world, work)
        self._resolver = Resolver(self.world, work)
        self._reader = HalfReader(self.world, "half-reader")
        self._members = [
            HalfMember(self.world, f"{group}-checker-{number}", work, group)
            for group in work.groups
            for number in range(work.members)
        ]
        self._owners: dict[str, HalfOwner] = {}
        self._names = {f"{group}-{n}": group for group in work.groups for n in range(work.owners)}
        """Of owners, with the group that each is of."""

    def start(self) -> None:
        """Begin."""
        self._keeper.start()
        self._resolver.start()
        self._reader.start()
        for member in self._members:
            member.start()
        for name in self._names:
            self._begin(name)
        self.world.every(self._work.dies_per_s, self._take_over)
        self.world.queue.after(LOOK_NS, self._look)

    def heal(self) -> None:
        """The faults are over."""
        self.world.heal()

    def stop(self) -> None:
        """Send nothing new; members know what became of everything."""
        self.world.stopped = True
        self._resolver.stop()

    def why_not_ended(self) -> str | None:
        """Return what is still open, or None; then members stop."""
        for owner in self._owners.values():
            if not owner.settled:
                return f"{owner.name} waits for what became of its half messages"
        left = self._facts.halves.open_keys()
        if left:
            key = next(iter(left))
            return f"{len(left)} half messages are open, as {key}: {left[key]}"
        self.world.members_stopped = True
        return None

    def _begin(self, name: str) -> None:
        """Let a process begin under a name, perhaps over another one."""
        before = self._owners.get(name)
        number = 1 if before is None else before.life + 1
        owner = HalfOwner(self.world, self._work, name, self._names[name], number, before)
        owner.on_fenced = lambda: self._fenced(owner, name)
        self._owners[name] = owner
        owner.start()

    def _take_over(self) -> None:
        self._replace(self.world.random.choice(list(self._names)))

    def _replace(self, name: str) -> None:
        random = self.world.random
        if random.random() >= self._work.lingers:
            self._owners[name].die()
        others = [group for group in self._work.groups if group != self._names[name]]
        if others and random.random() < self._work.moves:
            self.world.marks["half owners in another group"] += 1
            self._names[name] = random.choice(others)
        self._begin(name)

    def _fenced(self, owner: HalfOwner, name: str) -> None:
        """The newest one is fenced by a late copy of an old beginning: it begins again."""
        if self._owners[name] is owner and not self.world.stopped:
            self.world.marks["half owners fenced by a late copy"] += 1
            self._replace(name)

    def _look(self) -> None:
        for node in self.world.nodes:
            process = self._process_of(node)
            if process is not None:
                compare(node, process, self._facts.halves, self.world.marks)
        if not self.world.members_stopped:
            self.world.queue.after(LOOK_NS, self._look)


class HalfKeeper(Client):
    """Makes the topics, and deletes one of them with all that is open in it."""

    def __init__(self, world: ClientWorld, work: HalfWork) -> None:
        super().__init__(world, "half-keeper")
        self._work = work

    def start(self) -> None:
        """Begin."""
        names = TOPICS if self._work.deletes_per_s else TOPICS[:1]
        for name in names:
            self._create(name)
        self.world.every(self._work.deletes_per_s, self._delete)

    def _create(self, name: str) -> None:
        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if isinstance(error, TopicExists):
                self.describe(name, lambda: None)
            elif error is not None:
                self.world.soon(lambda: self._create(name))
            else:
                assert isinstance(answer, topics.TopicDescription), f"answered by {answer!r}"
                self.world.topics[name] = answer

        config = self.world.config
        settings = topics.TopicSettings(
            queues=self._work.queues,
            retention_ms=config.retention_ms,
            retention_bytes=config.retention_bytes,
        )
        message = topics.CreateTopic(name=name, settings=settings)
        self.ask(Method.TOPIC_CREATE, message, done)

    def _delete(self) -> None:
        name = TOPICS[-1]

        def done(
            _answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None or isinstance(error, TopicNotFound):
                self._create(name)

        self.ask(Method.TOPIC_DELETE, topics.DeleteTopic(name=name), done)
