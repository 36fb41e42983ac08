"""The request about one message: everything that is known of it."""

from typing import Final, cast

from raftlog.base.errors import RaftlogError
from raftlog.broker.origins import Origin
from raftlog.service.ports import ClientRequest
from raftlog.service.tracing import Progress, Traced, TraceService
from raftlog.wire.schema import search

_ORIGINS: Final = {
    Origin.UNKNOWN: search.MESSAGE_ORIGIN_UNKNOWN,
    Origin.SENT: search.MESSAGE_ORIGIN_SENT,
    Origin.DELAYED: search.MESSAGE_ORIGIN_DELAYED,
    Origin.HALF: search.MESSAGE_ORIGIN_HALF,
    Origin.DEAD_LETTER: search.MESSAGE_ORIGIN_DEAD_LETTER,
    Origin.ATOMIC: search.MESSAGE_ORIGIN_ATOMIC,
}
_PROGRESS: Final = {
    Progress.UNREAD: search.GROUP_PROGRESS_UNREAD,
    Progress.LEASED: search.GROUP_PROGRESS_LEASED,
    Progress.WAITING: search.GROUP_PROGRESS_WAITING,
    Progress.PARKED: search.GROUP_PROGRESS_PARKED,
    Progress.DEAD: search.GROUP_PROGRESS_DEAD,
    Progress.BLOCKED: search.GROUP_PROGRESS_BLOCKED,
    Progress.FINISHED: search.GROUP_PROGRESS_FINISHED,
}


def trace(service: TraceService, request: ClientRequest) -> None:
    """Answer with the facts, and the batch as payload; linearizable (ruling 23)."""

    def answer(outcome: Traced | RaftlogError) -> None:
        if isinstance(outcome, RaftlogError):
            request.fail(outcome)
        else:
            request.reply(_message(outcome), (outcome.batch,))

    message = cast("search.TraceMessage", request.message)
    request.on_cancelled = service.trace(message.queue, message.offset, answer)


def _message(traced: Traced) -> search.MessageTraced:
    posting, brought, copied = traced.posting, traced.brought, traced.copied
    message = search.MessageTraced(
        base_offset=posting.base_offset,
        count=posting.count,
        length=posting.length,
        index=posting.index,
        position=posting.position,
        visible_ms=posting.log_time_ms,
        now_ms=traced.now_ms,
        origin=_ORIGINS[brought.origin],
        stored_index=brought.index,
        stored_ms=brought.log_time_ms,
        due_ms=brought.due_ms,
        copied_ms=0 if copied is None else copied.log_time_ms,
        more_groups=traced.has_more_groups,
    )
    _add_origin(message, traced)
    for stream in traced.streams:
        message.stream_groups.add(
            group=stream.group, member=stream.member, committed=stream.committed
        )
    for group in traced.queues:
        message.queue_groups.add(
            group=group.group,
            progress=_PROGRESS[group.progress],
            attempts=group.attempts,
            until_ms=group.until_ms,
            reason=group.reason,
            dead_letter_topic=group.dead_letters,
        )
    return message


def _add_origin(message: search.MessageTraced, traced: Traced) -> None:
    staged, buried = traced.staged, traced.buried
    if staged is not None:
        message.transaction.transaction = staged.transaction
        message.transaction.owner = staged.owner
        message.transaction.group = staged.group
    if buried is not None:
        message.dead_letter.group = buried.group
        message.dead_letter.topic = buried.topic
        message.dead_letter.place = buried.place
        message.dead_letter.offset = buried.offset
