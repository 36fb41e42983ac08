"""Changes that clients ask for and are told of, in one form, whoever says so.

request   CommitOffsets(billing, m1, ...)   ->  ("commit", "billing", 5, "m1", 0, 3, 70)
answer    TopicDescription(orders, ...)     ->  (settings, queues)
command   CreateTopic, outcome Topic        ->  ("create", "orders", ...), (settings, queues)
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec
from google.protobuf.message import Message

from chaos.check.told_outcomes import Change
from raftlog.base.message_types import EVERY_BIT
from raftlog.broker.claims import CommitOffsets, GroupSought, OffsetsCommitted, SeekGroup
from raftlog.broker.group_commands import (
    DeleteGroup,
    GroupDeleted,
    SetSubscription,
    SubscriptionSet,
)
from raftlog.broker.message_types import AlterTypedTopic, CreateTypedTopic
from raftlog.broker.queue_seeks import QueueGroupSought, SeekQueueGroup, SoughtQueue
from raftlog.broker.quotas import Quota, QuotaRemoved, RemoveQuota, SetQuota
from raftlog.broker.topics import (
    AlterTopic,
    CreateTopic,
    DeleteTopic,
    Topic,
    TopicChanges,
    TopicSettings,
)
from raftlog.wire.frame import Method
from raftlog.wire.schema import groups, leases, quotas, topics

TopicRow = tuple[tuple[object, ...], tuple[int, ...]]
"""The settings, and the queues in the order of their places."""


def changes_asked(method: Method, message: Message) -> list[Change]:
    """Return what a request asks for; nothing if it is none of these changes."""
    made = _ASKED.get(method)
    return [] if made is None else list(made(message))


def outcome_told(answer: Message) -> object:
    """Return what an answer says of a change, beside that it is done."""
    match answer:
        case topics.TopicDescription():
            return topic_told(answer)
        case groups.GroupSought():
            return answer.generation
        case groups.SubscriptionSet():
            return answer.version, answer.generation
        case leases.QueueGroupSought():
            return [_sought(each) for each in answer.queues]
        case _:
            return None


def topic_told(answer: topics.TopicDescription) -> TopicRow:
    """Return a topic as somebody is told of it."""
    settings = tuple(getattr(answer.settings, name) for name in TopicSettings.__struct_fields__)
    return settings, tuple(row.queue for row in answer.queues)


def topic_row(topic: Topic) -> TopicRow:
    """Return a topic as a row of state has it."""
    return msgspec.structs.astuple(topic.settings), topic.queues


def changes_done(command: msgspec.Struct, outcome: object) -> Iterator[tuple[Change, object]]:
    """Iterate over what a command of the log did, and what is told of it."""
    match command, outcome:
        case CommitOffsets(), OffsetsCommitted():
            for queue, offset in command.offsets:
                yield _commit(command, queue, offset), None
        case SeekGroup(), GroupSought(generation=generation):
            yield ("seek", command.group, command.offsets), generation
        case SeekQueueGroup(), QueueGroupSought():
            told = [_sought(each) for each in outcome.queues]
            yield ("seek of a queue group", command.group, command.offsets), told
        case SetSubscription(), SubscriptionSet():
            wanted = (command.topics, command.wanted.tags, command.wanted.condition)
            asked = ("subscribe", command.group, *wanted, command.version, command.assignor)
            yield asked, (outcome.version, outcome.generation)
        case DeleteGroup(), GroupDeleted():
            yield ("delete group", command.group), None
        case ((CreateTopic() | CreateTypedTopic()), Topic()):
            types = EVERY_BIT if isinstance(command, CreateTopic) else command.types
            yield _topic("create topic", command.name, command.changes, types), topic_row(outcome)
        case ((AlterTopic() | AlterTypedTopic()), Topic()):
            # All of them is what a topic has anyway, as long as a member knows no types.
            types = 0 if isinstance(command, AlterTopic) else command.types % EVERY_BIT
            yield _topic("alter topic", command.name, command.changes, types), topic_row(outcome)
        case DeleteTopic(), Topic():
            yield ("delete topic", command.name), None
        case SetQuota(), Quota():
            yield ("set quota", *msgspec.structs.astuple(command)), None
        case RemoveQuota(), QuotaRemoved():
            yield ("remove quota", command.kind, command.name), None
        case _:
            pass


def _commit(of: CommitOffsets | groups.CommitOffsets, queue: int, offset: int) -> Change:
    return ("commit", of.group, of.generation, of.member, of.life, queue, offset)


def _topic(what: str, name: str, changes: TopicChanges, types: int) -> Change:
    return (what, name, *msgspec.structs.astuple(changes), types)


def _commits(message: groups.CommitOffsets) -> Iterable[Change]:
    return [_commit(message, row.queue, row.offset) for row in message.offsets]


def _topic_change(
    what: str, unsaid: int
) -> Callable[[topics.CreateTopic | topics.AlterTopic], list[Change]]:
    def asked(message: topics.CreateTopic | topics.AlterTopic) -> list[Change]:
        given = {field.name: value for field, value in message.settings.ListFields()}
        types = sum(1 << number - 1 for number in set(given.pop("types", ()))) or unsaid
        types = types if unsaid else types % EVERY_BIT
        return [_topic(what, message.name, TopicChanges(**given), types)]

    return asked


def _seek(what: str) -> Callable[[groups.SeekGroup | leases.SeekQueueGroup], list[Change]]:
    def asked(message: groups.SeekGroup | leases.SeekQueueGroup) -> list[Change]:
        if isinstance(message, leases.SeekQueueGroup) and message.dry_run:
            return []  # a look
        return [(what, message.group, tuple((row.queue, row.offset) for row in message.offsets))]

    return asked


def _sought(told: leases.SoughtQueue | SoughtQueue) -> tuple[int, ...]:
    kept = (told.kept, told.leased, told.waiting, told.failed)
    return (told.queue, told.before, told.after, *kept)


def _subscription(message: groups.SetSubscription) -> Iterable[Change]:
    wanted = (tuple(message.topics), tuple(message.filter.tags), message.filter.condition)
    return [("subscribe", message.group, *wanted, message.version, message.assignor)]


def _quota(message: quotas.SetQuota) -> Iterable[Change]:
    rates = (message.bytes_per_s, message.records_per_s)
    return [("set quota", message.kind, message.name, *rates)]


_ASKED: Final[Mapping[int, Callable[..., Iterable[Change]]]] = {
    Method.GROUP_COMMIT: _commits,
    Method.GROUP_SEEK: _seek("seek"),
    Method.GROUP_SUBSCRIBE: _subscription,
    Method.QUEUE_SEEK: _seek("seek of a queue group"),
    Method.GROUP_DELETE: lambda message: [("delete group", message.group)],
    Method.TOPIC_CREATE: _topic_change("create topic", EVERY_BIT),
    Method.TOPIC_ALTER: _topic_change("alter topic", 0),
    Method.TOPIC_DELETE: lambda message: [("delete topic", message.name)],
    Method.QUOTA_SET: _quota,
    Method.QUOTA_REMOVE: lambda message: [("remove quota", message.kind, message.name)],
}
