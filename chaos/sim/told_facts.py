"""What the committed log says of changes that clients were told of, and of the rows they made."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from google.protobuf.message import Message

from chaos.check.kept_rows import KeptRows
from chaos.check.queue_order import QueueOrder
from chaos.check.told_outcomes import Asked, ToldOutcomes
from chaos.sim.told_changes import (
    TopicRow,
    changes_asked,
    changes_done,
    outcome_told,
    topic_row,
    topic_told,
)
from raftlog.base.errors import (
    GroupNotFound,
    Outcome,
    RaftlogError,
    TopicNotFound,
    Unavailable,
)
from raftlog.broker.claims import (
    ClaimQueue,
    CommitOffsets,
    GroupSought,
    OffsetsCommitted,
    QueueClaimed,
    SeekGroup,
)
from raftlog.broker.dead_letters import SETTINGS, DeadLetterStored
from raftlog.broker.group_commands import (
    Assignment,
    DeleteGroup,
    GroupDeleted,
    JoinGroup,
)
from raftlog.broker.message_types import AlterTypedTopic, CreateTypedTopic
from raftlog.broker.quotas import Quota, QuotaRemoved, RemoveQuota, SetQuota
from raftlog.broker.topics import AlterTopic, CreateTopic, DeleteTopic, Topic
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, groups, topics

ClaimKey = tuple[str, int]
"""Group and queue."""
TakesAnswer = Callable[[Message | None, RaftlogError | None], None]
"""Told how a request ended; raises a ``Violation``."""


class ClaimRow(msgspec.Struct, frozen=True, gc=False):
    """Who owns a queue for a group, and what was committed last; nobody after a seek."""

    generation: int
    member: str
    life: int
    committed: int | None


class ToldFacts:
    """The changes of one run."""

    def __init__(self, marks: Counter[str], order: QueueOrder) -> None:
        self.applied = 0
        """The last entry that anybody has applied."""
        self.by_clients = False
        """Whether all changes are made by clients, whose requests come here; else none is."""
        self.claims: Final[KeptRows[ClaimKey, ClaimRow]] = KeptRows("claim")
        self.groups: Final[KeptRows[str, bool]] = KeptRows("group")
        """Those that have members, or had."""
        self.topics: Final[KeptRows[str, TopicRow]] = KeptRows("topic")
        self.quotas: Final[KeptRows[tuple[str, str], tuple[int, int]]] = KeptRows("quota")
        self.ends: Final[KeptRows[int, int]] = KeptRows("end of queue")
        self.starts: Final[KeptRows[int, int]] = KeptRows("start of queue")
        self._marks: Final = marks
        self._order: Final = order
        self._outcomes: Final = ToldOutcomes()

    # -- as clients see it

    def asks(self, method: Method, message: Message) -> TakesAnswer | None:
        """Somebody asks for this now; return who takes the answer, if it says something."""
        match message:
            case groups.DescribeGroup():
                return self._looks_at_group(message.group)
            case topics.DescribeTopic():
                return self._looks_at_topic(message.name)
            case client.EndOffset():
                return self._looks_at_end(message.queue)
            case _:
                asked = self.asks_for(method, message)
        if not asked:
            return None

        def answered(answer: Message | None, error: RaftlogError | None) -> None:
            if answer is not None:
                self._marks[f"told: {asked[0].change[0]}"] += 1
                self._told(asked, outcome_told(answer))
            elif error is not None and _is_sure(error):
                self.failed(asked)

        return answered

    def asks_for(self, method: Method, message: Message) -> list[Asked]:
        """Take in that somebody asks for changes, once, however often the request is sent."""
        changes = changes_asked(method, message)
        return [self._outcomes.asks(change, self.applied) for change in changes]

    def done(self, asked: Sequence[Asked]) -> None:
        """Take in that somebody knows that it was done.

        Raises:
            Violation: The log says something else.
        """
        self._told(asked, None)

    def failed(self, asked: Sequence[Asked]) -> None:
        """Take in that somebody knows that it was not done, and never will be.

        Raises:
            Violation: The log says something else.
        """
        for each in asked:
            self._outcomes.failed(each)

    def _told(self, asked: Sequence[Asked], outcome: object) -> None:
        for each in asked:
            self._outcomes.told(each, outcome)

    def _looks_at_group(self, group: str) -> TakesAnswer:
        floor, asked = self.applied, self._order.asks()
        claimed = [queue for name, queue in self.claims.now if name == group]

        def told(answer: Message | None, error: RaftlogError | None) -> None:
            committed: dict[int, int | None] = {}
            if isinstance(error, GroupNotFound):
                self.groups.told(group, floor, None)
                committed = dict.fromkeys(claimed)
            elif answer is not None:
                assert isinstance(answer, groups.GroupDescription), f"answered by {answer!r}"
                self._marks["groups told"] += 1
                for row in answer.queues:
                    committed[row.queue] = row.committed if row.committed >= 0 else None
                self._bounds_told(answer.queues, floor, asked)
            for queue, offset in committed.items():
                self.claims.told((group, queue), floor, offset, _committed)

        return told

    def _looks_at_topic(self, name: str) -> TakesAnswer:
        floor, asked = self.applied, self._order.asks()

        def told(answer: Message | None, error: RaftlogError | None) -> None:
            if isinstance(error, TopicNotFound):
                self.topics.told(name, floor, None)
            elif answer is not None:
                assert isinstance(answer, topics.TopicDescription), f"answered by {answer!r}"
                self.topics.told(name, floor, topic_told(answer))
                self._bounds_told(answer.queues, floor, asked)

        return told

    def _looks_at_end(self, queue: int) -> TakesAnswer:
        floor, asked = self.applied, self._order.asks()

        def told(answer: Message | None, _error: RaftlogError | None) -> None:
            if answer is not None:
                assert isinstance(answer, client.EndOffsetIs), f"answered by {answer!r}"
                self._end_told(queue, answer.end_offset, floor, asked)

        return told

    def _bounds_told(
        self, rows: Iterable[groups.GroupQueue | topics.TopicQueue], floor: int, asked: int
    ) -> None:
        for row in rows:
            self.starts.told(row.queue, floor, row.start_offset)
            self._end_told(row.queue, row.end_offset, floor, asked)

    def _end_told(self, queue: int, end: int, floor: int, asked: int) -> None:
        self.ends.told(queue, floor, end)
        self._order.told(queue, end, asked)

    # -- in the order of the log

    def opened(self, queue: int) -> None:
        """Take in that there is a new, empty queue."""
        self.starts.put(self.applied, queue, 0)
        self.ends.put(self.applied, queue, 0)

    def letter(self, outcome: DeadLetterStored) -> None:
        """Take in a dead letter: its group's first one makes the topic."""
        if outcome.topic not in self.topics.now:
            row = topic_row(Topic(outcome.topic, SETTINGS, (outcome.queue,)))
            self.topics.put(self.applied, outcome.topic, row)

    def carried_out(self, command: msgspec.Struct, outcome: object) -> None:
        """Take in a command that was carried out.

        Raises:
            Violation: Nobody has asked for it.
        """
        index = self.applied
        if self.by_clients:
            for change, how in changes_done(command, outcome):
                self._outcomes.carried_out(change, index, how)
        match command, outcome:
            case (
                (CreateTopic() | AlterTopic() | CreateTypedTopic() | AlterTypedTopic()),
                Topic(),
            ):
                self.topics.put(index, command.name, topic_row(outcome))
            case DeleteTopic(name=name), Topic(queues=queues):
                self.topics.gone(index, name)
                self.quotas.gone(index, ("topic", name))
                self._forget(lambda key: key[1] in queues)
                for queue in queues:
                    self.starts.gone(index, queue)
                    self.ends.gone(index, queue)
            case SetQuota(), Quota():
                rates = (command.bytes_per_s, command.records_per_s)
                self.quotas.put(index, (command.kind, command.name), rates)
            case RemoveQuota(kind=kind, name=name), QuotaRemoved():
                self.quotas.gone(index, (kind, name))
            case _:
                self._group_changed(command, outcome)

    def _group_changed(self, command: msgspec.Struct, outcome: object) -> None:
        claims, index = self.claims, self.applied
        match command, outcome:
            case JoinGroup(group=group), Assignment():
                if group not in self.groups.now:
                    self.groups.put(index, group, value=True)
            case CommitOffsets(group=group), OffsetsCommitted():
                for queue, offset in command.offsets:
                    row = msgspec.structs.replace(claims.now[group, queue], committed=offset)
                    claims.put(index, (group, queue), row)
            case ClaimQueue(group=group, queue=queue), QueueClaimed():
                before = claims.now.get((group, queue))
                committed = None if before is None else before.committed
                row = ClaimRow(command.generation, command.member, command.life, committed)
                claims.put(index, (group, queue), row)
            case SeekGroup(group=group), GroupSought(generation=generation):
                for queue, offset in command.offsets:
                    claims.put(index, (group, queue), ClaimRow(generation, "", 0, offset))
            case DeleteGroup(group=group), GroupDeleted():
                self.groups.gone(index, group)
                self._forget(lambda key: key[0] == group)
            case _:
                pass

    def _forget(self, is_gone: Callable[[ClaimKey], bool]) -> None:
        for key in [key for key in self.claims.now if is_gone(key)]:
            self.claims.gone(self.applied, key)


def _is_sure(error: RaftlogError) -> bool:
    """Whether it says that nothing was done, nor will be.

    No answer is ``Unavailable`` where asking again does no harm (``wire.requests``).
    """
    return error.outcome is not Outcome.UNKNOWN and not isinstance(error, Unavailable)


def _committed(row: ClaimRow) -> int | None:
    return row.committed
