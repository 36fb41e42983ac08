"""Topics: made, altered and deleted by commits; looked at linearizably (ruling 23)."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from raftlog.base.errors import RaftlogError, TopicNotFound
from raftlog.base.ids import Offset
from raftlog.base.message_types import EVERY_BIT
from raftlog.base.names import SYSTEM_PREFIXES
from raftlog.base.space import DiskLevel
from raftlog.broker.business_ids import ShortenedWindow
from raftlog.broker.codec import CommandValue
from raftlog.broker.commands import MESSAGE_TYPES_LEVEL
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.message_types import AlterTypedTopic, CreateTypedTopic, check_types_level
from raftlog.broker.topics import AlterTopic, CreateTopic, DeleteTopic, Topic, TopicChanges
from raftlog.service.footprint import Footprint, LogHold
from raftlog.service.ports import ShardReplica
from raftlog.service.proposing import Reply, look, propose, when_settled
from raftlog.service.refusing import disk_full

PAGE_MAX: Final = 500
"""Rows in one answer to a list."""
PAGE_QUEUES_MAX: Final = 10_000
"""Queues that are looked at for one page: a longer look would hold up heartbeats."""
SYSTEM_TOPICS_MAX: Final = 16
"""Topics that a page may leave out, because they are the system's own."""


class QueueEnds(msgspec.Struct, frozen=True, gc=False):
    """A queue's number, where it begins and ends, its bytes in the log, and what is delayed."""

    queue: int
    start_offset: Offset
    end_offset: Offset
    bytes: int
    delayed: int = 0


class TopicState(msgspec.Struct, frozen=True):
    """A topic, and how far its queues are."""

    topic: Topic
    queues: tuple[QueueEnds, ...]
    hold: LogHold | None = None
    """Who keeps the log, where somebody asked for one topic."""
    ids: int = 0
    """Business ids that are remembered."""
    shortened: ShortenedWindow | None = None
    """When an id left before its window was over, the last time."""
    types: int = EVERY_BIT
    """Of messages, that it takes: a bit each."""

    @property
    def bytes(self) -> int:
        """Of its batches that the log still has."""
        return sum(queue.bytes for queue in self.queues)

    @property
    def records(self) -> int:
        """Records that can be read."""
        return sum(queue.end_offset - queue.start_offset for queue in self.queues)


class Page(msgspec.Struct, frozen=True):
    """Topics in the order of their names, and whether there are more."""

    topics: list[TopicState]
    more: bool


class TopicService:
    """The topics of one shard."""

    def __init__(
        self, replica: ShardReplica, machine: BrokerMachine, footprint: Footprint
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._footprint: Final = footprint

    def create(
        self, name: str, changes: TopicChanges, reply: Reply[TopicState], types: int = EVERY_BIT
    ) -> None:
        """Make a topic; ``BadName``, ``TopicExists``, ``BadRequest`` or ``LimitReached`` if not.

        ``DiskFull`` already from 85 % of the disks on: a topic is a promise of room. What
        ``changes`` leaves open takes its default. ``types``: what it takes, a bit each; fewer
        than all are ``BadRequest`` below ``MESSAGE_TYPES_LEVEL``.
        """
        if self._replica.disk_level >= DiskLevel.SCARCE:
            reply(disk_full("another topic"))
            return
        answer = self._with_state(reply)
        if types == EVERY_BIT:
            propose(self._replica, lambda: CreateTopic(name, changes), Topic, answer)
            return

        def make() -> CreateTypedTopic:
            check_types_level(self._machine.feature_level)
            return CreateTypedTopic(name, changes, types)

        self._propose_settled(make, answer)

    def alter(
        self, name: str, changes: TopicChanges, reply: Reply[TopicState], types: int = 0
    ) -> None:
        """Change settings; ``TopicNotFound``, ``BadRequest`` or ``LimitReached`` if not.

        ``types``: as of ``create``, or 0: unchanged.
        """
        answer = self._with_state(reply)
        if not types:
            propose(self._replica, lambda: AlterTopic(name, changes), Topic, answer)
            return

        def make() -> AlterTopic | AlterTypedTopic:
            level = self._machine.feature_level
            if types == EVERY_BIT and level < MESSAGE_TYPES_LEVEL:  # it takes all of them
                return AlterTopic(name, changes)
            check_types_level(level)
            return AlterTypedTopic(name, changes, types)

        self._propose_settled(make, answer)

    def _propose_settled(
        self, make: Callable[[], CommandValue], answer: Callable[[Topic | RaftlogError], None]
    ) -> None:
        """Propose what depends on the feature level."""
        replica = self._replica
        when_settled(replica, lambda: propose(replica, make, Topic, answer), answer)

    def delete(self, name: str, reply: Reply[Topic]) -> None:
        """Forget a topic and everything in it; ``TopicNotFound`` if there is none."""
        propose(self._replica, lambda: DeleteTopic(name), Topic, reply)

    def describe(self, name: str, reply: Reply[TopicState]) -> None:
        """Tell a topic's settings and queues; ``TopicNotFound`` names the nearest one."""

        def answer() -> TopicState | RaftlogError:
            topic = self._machine.topics.get(name)
            if topic is None:
                return TopicNotFound(name, self._machine.topics.nearest(name))
            return self._state(topic, self._footprint.hold())

        look(self._replica, answer, reply)

    def list(self, after: str, count_max: int, reply: Reply[Page]) -> None:
        """Tell the topics whose names come after ``after``, at most ``count_max`` (0: 500).

        The system's own are left out. A page may be shorter than asked for;
        ``more`` says whether it is the last.
        """
        count = min(count_max or PAGE_MAX, PAGE_MAX)

        def answer() -> Page:
            found = self._machine.topics.after(after, count + SYSTEM_TOPICS_MAX + 1)
            return self._page(
                [topic for topic in found if not topic.name.startswith(SYSTEM_PREFIXES)], count
            )

        look(self._replica, answer, reply)

    def _page(self, found: Sequence[Topic], count: int) -> Page:
        page: list[TopicState] = []
        looked_at = 0
        for topic in found[:count]:
            looked_at += len(topic.queues)
            if page and looked_at > PAGE_QUEUES_MAX:
                break
            page.append(self._state(topic))
        return Page(page, len(page) < len(found))

    def _with_state(self, reply: Reply[TopicState]) -> Callable[[Topic | RaftlogError], None]:
        def answer(outcome: Topic | RaftlogError) -> None:
            reply(self._state(outcome) if isinstance(outcome, Topic) else outcome)

        return answer

    def _state(self, topic: Topic, hold: LogHold | None = None) -> TopicState:
        machine = self._machine
        get = machine.queues.get
        ends = []
        for number in topic.queues:
            queue = get(number)
            # None: a later command of the very entry has deleted the topic again.
            start, end = (
                (Offset(0), Offset(0)) if queue is None else (queue.start_offset, queue.end_offset)
            )
            size, delayed = machine.batch_bytes(number), machine.delays.pending(number)
            ends.append(QueueEnds(number, start, end, size, delayed))
        ids = machine.state.ids
        home = topic.queues[0]
        return TopicState(
            *(topic, tuple(ends), hold, ids.count(home), ids.shortened.get(home)),
            machine.types.of(topic.name),
        )
