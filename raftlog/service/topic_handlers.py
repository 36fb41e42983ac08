"""Requests of ``topics.proto``."""

from collections.abc import Mapping
from typing import Final, cast

from raftlog.base.errors import BadRequest
from raftlog.base.limits import FRAME_HEADER_BYTES_MAX, NAME_CHARACTERS_MAX, TOPIC_QUEUES_MAX
from raftlog.base.message_types import EVERY_BIT, MessageType, bits_of
from raftlog.broker.topics import Topic, TopicChanges
from raftlog.service.answers import answer_with, that_fit
from raftlog.service.footprint import LogHold
from raftlog.service.ports import ClientRequest
from raftlog.service.topics import Page, TopicService, TopicState
from raftlog.wire.schema import topics

QUEUE_ROW_BYTES_MAX: Final = 2 + 6 + 11 + 11 + 11 + 6
"""A ``TopicQueue`` with the field that it is, and its place among those that hold the log."""
_TYPES: "Final[Mapping[topics.MessageType.ValueType, MessageType]]" = {
    topics.MESSAGE_TYPE_NORMAL: MessageType.NORMAL,
    topics.MESSAGE_TYPE_FIFO: MessageType.FIFO,
    topics.MESSAGE_TYPE_DELAYED: MessageType.DELAYED,
    topics.MESSAGE_TYPE_TRANSACTIONAL: MessageType.TRANSACTIONAL,
}
HOLD_BYTES_MAX: Final = 10 * 11 + NAME_CHARACTERS_MAX

assert (
    TOPIC_QUEUES_MAX * QUEUE_ROW_BYTES_MAX + NAME_CHARACTERS_MAX + 64 + HOLD_BYTES_MAX
    < FRAME_HEADER_BYTES_MAX
)


def create(service: TopicService, request: ClientRequest) -> None:
    """Make a topic."""
    message = cast("topics.CreateTopic", request.message)
    try:
        types = _types(message.settings) or EVERY_BIT
    except BadRequest as error:
        request.fail(error)
        return
    answer = answer_with(request, _description)
    service.create(message.name, _changes(message.settings), answer, types)


def alter(service: TopicService, request: ClientRequest) -> None:
    """Change a topic's settings."""
    message = cast("topics.AlterTopic", request.message)
    try:
        types = _types(message.settings)
    except BadRequest as error:
        request.fail(error)
        return
    answer = answer_with(request, _description)
    service.alter(message.name, _changes(message.settings), answer, types)


def delete(service: TopicService, request: ClientRequest) -> None:
    """Forget a topic."""

    def deleted(_topic: Topic) -> topics.TopicDeleted:
        return topics.TopicDeleted()

    message = cast("topics.DeleteTopic", request.message)
    service.delete(message.name, answer_with(request, deleted))


def describe(service: TopicService, request: ClientRequest) -> None:
    """Tell a topic's settings and queues."""
    message = cast("topics.DescribeTopic", request.message)
    service.describe(message.name, answer_with(request, _description))


def list_(service: TopicService, request: ClientRequest) -> None:
    """Tell the next topics in the order of their names."""
    message = cast("topics.ListTopics", request.message)
    service.list(message.after, message.count_max, answer_with(request, _listed))


def _changes(settings: topics.TopicSettings) -> TopicChanges:
    has = settings.HasField
    return TopicChanges(
        settings.queues if has("queues") else None,
        settings.retention_ms if has("retention_ms") else None,
        settings.retention_bytes if has("retention_bytes") else None,
        settings.readable if has("readable") else None,
        settings.writable if has("writable") else None,
        settings.id_window_ms if has("id_window_ms") else None,
        settings.until_consumed if has("until_consumed") else None,
    )


def _types(settings: topics.TopicSettings) -> int:
    """Return the types that are said, a bit each; 0: it is not said."""
    unknown = [number for number in settings.types if number not in _TYPES]
    if unknown:
        raise BadRequest(f"{unknown[0]} is no type of messages; there are 1 to {len(_TYPES)}")
    return bits_of(_TYPES[number] for number in settings.types)


def _description(state: TopicState) -> topics.TopicDescription:
    settings = state.topic.settings
    return topics.TopicDescription(
        name=state.topic.name,
        settings=topics.TopicSettings(
            queues=settings.queues,
            retention_ms=settings.retention_ms,
            retention_bytes=settings.retention_bytes,
            readable=settings.readable,
            writable=settings.writable,
            id_window_ms=settings.id_window_ms,
            until_consumed=settings.until_consumed,
            types=[number for number, kind in _TYPES.items() if state.types & kind.bit],
        ),
        ids=state.ids,
        ids_shortened_ms=0 if state.shortened is None else state.shortened.at_ms,
        ids_kept_ms=0 if state.shortened is None else state.shortened.kept_ms,
        queues=[
            topics.TopicQueue(
                queue=queue.queue,
                start_offset=queue.start_offset,
                end_offset=queue.end_offset,
                bytes=queue.bytes,
                delayed=queue.delayed,
            )
            for queue in state.queues
        ],
        hold=None if state.hold is None else log_hold(state.hold),
        holding=[
            place
            for place, queue in enumerate(state.queues)
            if state.hold is not None and queue.queue in state.hold.holding
        ],
    )


def log_hold(hold: LogHold) -> topics.LogHold:
    """Return who keeps the log, as clients are told."""
    return topics.LogHold(
        first_index=hold.first_index,
        last_index=hold.last_index,
        queues=hold.queues,
        topic=hold.topic,
        place=hold.place,
        retention_ms=hold.settings.retention_ms,
        retention_bytes=hold.settings.retention_bytes,
        newest_ms=hold.newest_ms,
        hidden=hold.hidden,
    )


def _listed(page: Page) -> topics.TopicsListed:
    rows, cut = that_fit(
        topics.TopicSummary(
            name=state.topic.name,
            queues=len(state.queues),
            retention_ms=state.topic.settings.retention_ms,
            retention_bytes=state.topic.settings.retention_bytes,
            records=state.records,
            bytes=state.bytes,
        )
        for state in page.topics
    )
    return topics.TopicsListed(topics=rows, more=page.more or cut)
