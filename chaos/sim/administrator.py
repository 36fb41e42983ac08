"""The administrator: makes topics, changes them, deletes them, and moves groups about.

It also takes producer ids that nobody uses.
"""

from collections.abc import Sequence

from google.protobuf.message import Message

from chaos.sim.atomic_work import GROUP, RESULTS
from chaos.sim.client_world import Client
from raftlog.base.errors import RaftlogError, TopicExists, TopicNotFound
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups, producers, topics

ID_WINDOWS_MS = (0, 300, 2_000, 2_000, 60_000)
KEPT_LONGER = (1, 2, 6)
"""Some topics keep their records for longer than the others: those are copied forward."""
_NORMAL, _FIFO = topics.MESSAGE_TYPE_NORMAL, topics.MESSAGE_TYPE_FIFO
_DELAYED, _TRANSACTIONAL = topics.MESSAGE_TYPE_DELAYED, topics.MESSAGE_TYPE_TRANSACTIONAL
TYPES = (
    *((_NORMAL,), (_FIFO,), (_FIFO,), (_DELAYED,), (_TRANSACTIONAL,)),
    *((_FIFO, _DELAYED), (_NORMAL, _TRANSACTIONAL)),
    (_NORMAL, _FIFO, _DELAYED, _TRANSACTIONAL),
)


class Administrator(Client):
    """Makes the topics of the run, then acts at random."""

    def start(self) -> None:
        """Make the topics that stay, then begin."""
        for name in self.world.config.topics:
            self._create(name)
        if GROUP in self.world.config.groups:
            for name in RESULTS:
                self._create(name)
        self.world.every(self.world.config.administration_per_s, self._act)

    def _act(self) -> None:
        random = self.world.random
        acts = (self._come_and_go, self._alter, self._seek, self._seek, self._disband, self._look)
        random.choice((*acts, self._take_ids))()

    def _create(self, name: str) -> None:
        config, random = self.world.config, self.world.random

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if isinstance(error, TopicExists):
                self._find(name)
            elif error is not None:
                self.world.soon(lambda: self._create(name))
            else:
                self._learn(answer)

        settings = topics.TopicSettings(
            queues=random.randint(1, config.queues_max),
            retention_ms=config.retention_ms * random.choice(KEPT_LONGER),
            retention_bytes=config.retention_bytes,
            id_window_ms=random.choice(ID_WINDOWS_MS) if config.ids else None,
            until_consumed=config.until_consumed and name not in RESULTS,  # nobody reads them
            types=self._some_types() if name.startswith("passing") else (),
        )
        message = topics.CreateTopic(name=name, settings=settings)
        self.ask(Method.TOPIC_CREATE, message, done)

    def _some_types(self) -> "Sequence[topics.MessageType.ValueType]":
        """Draw what a topic takes, or nothing: then it is not said."""
        random, share = self.world.random, self.world.config.types
        if not share or random.random() >= share:
            return ()
        return random.choice(TYPES)

    def _find(self, name: str) -> None:
        """Learn of a topic that is there, or make it if it has gone meanwhile."""

        def done() -> None:
            if name not in self.world.topics:
                self.world.soon(lambda: self._create(name))

        self.describe(name, done)

    def _learn(self, answer: Message | None) -> None:
        assert isinstance(answer, topics.TopicDescription), f"answered by {answer!r}"
        self.world.marks["topics told"] += 1
        self.world.topics[answer.name] = answer

    def _come_and_go(self) -> None:
        """Delete one of the topics that do not stay, or make another."""
        passing = [name for name in self.world.topics if name.startswith("passing")]
        if len(passing) < 2:
            self._create(f"passing-{self.world.random.randrange(5)}")
            return
        name = self.world.random.choice(passing)

        def done(
            _answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None or isinstance(error, TopicNotFound):
                self.world.marks["topics deleted"] += 1
                self.world.topics.pop(name, None)

        self.ask(Method.TOPIC_DELETE, topics.DeleteTopic(name=name), done)

    def _alter(self) -> None:
        """Add a queue, or change what may be done with a topic that does not stay."""
        random = self.world.random
        if not self.world.topics:
            return
        name = random.choice(list(self.world.topics))
        if self.world.config.ids and random.random() < 0.3:
            settings = topics.TopicSettings(id_window_ms=random.choice(ID_WINDOWS_MS))
            self.ask(
                Method.TOPIC_ALTER,
                topics.AlterTopic(name=name, settings=settings),
                lambda *_: None,
            )
            return
        settings = topics.TopicSettings(queues=len(self.world.topics[name].queues) + 1)
        if name.startswith("passing") and (types := self._some_types()):
            settings.types.extend(types)
        elif name.startswith("passing") and random.random() < 0.5:
            settings = topics.TopicSettings(
                readable=random.random() < 0.7, writable=random.random() < 0.5
            )
        elif len(self.world.topics[name].queues) >= self.world.config.queues_max:
            return

        def done(
            answer: Message | None, _parts: Sequence[bytes], error: RaftlogError | None
        ) -> None:
            if error is None:
                self._learn(answer)

        self.ask(Method.TOPIC_ALTER, topics.AlterTopic(name=name, settings=settings), done)

    def _seek(self) -> None:
        """Move a group to any offset of a queue that it reads."""
        random = self.world.random
        if not self.world.config.groups or random.random() < 0.5:
            return
        group = random.choice(self.world.config.groups)
        queue = self.world.some_queue()
        if queue is None:
            return
        start, end = self.world.facts.bounds(queue)
        offset = random.randint(start, max(start, end))
        self.world.facts.groups.seeks(group, queue, offset)
        message = groups.SeekGroup(
            group=group, offsets=[groups.QueueOffset(queue=queue, offset=offset)]
        )
        self.ask(Method.GROUP_SEEK, message, lambda *_: None)

    def _disband(self) -> None:
        """Delete a group: refused while it has members, so it strikes when all are asleep."""
        world = self.world
        if not world.config.groups:
            return
        group = world.random.choice(world.config.groups)
        for topic in world.topics.values():
            for queue in topic.queues:
                world.facts.groups.seeks(group, queue.queue, 0)
        self.ask(Method.GROUP_DELETE, groups.DeleteGroup(group=group), lambda *_: None)

    def _describe_group(self, group: str) -> None:
        """Ask any node what a group has committed."""
        node = self.world.random.choice((self.believed, *self.world.nodes))
        message = groups.DescribeGroup(group=group)
        self.ask(Method.GROUP_DESCRIBE, message, lambda *_: None, node=node)

    def _take_ids(self) -> None:
        """Two new producers at one moment: their commands may share an entry."""
        for _ in range(2):
            self.ask(Method.PRODUCER_INIT, producers.InitProducer(), lambda *_: None)

    def _look(self) -> None:
        """Ask for lists and descriptions: they must be answered, and change nothing."""
        asked: Sequence[tuple[Method, Message]] = (
            (Method.TOPIC_LIST, topics.ListTopics(count_max=3)),
            (Method.GROUP_LIST, groups.ListGroups(count_max=3)),
        )
        method, message = self.world.random.choice(asked)
        self.ask(method, message, lambda *_: None)
        for group in self.world.config.groups:
            self._describe_group(group)
        if self.world.topics:
            self.describe(self.world.random.choice(list(self.world.topics)), lambda: None)
