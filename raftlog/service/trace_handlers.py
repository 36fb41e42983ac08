"""The requests about one message: everything that is known of it, also while it is hidden."""

from typing import Final, cast

from raftlog.base.errors import RaftlogError
from raftlog.broker.origins import Origin
from raftlog.broker.places import index_of
from raftlog.service.hidden_tracing import HiddenState, HiddenTraced
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
_HIDDEN: Final = {
    HiddenState.GONE: search.HIDDEN_STATE_GONE,
    HiddenState.DELAYED: search.HIDDEN_STATE_DELAYED,
    HiddenState.HALF: search.HIDDEN_STATE_HALF,
    HiddenState.STAGED: search.HIDDEN_STATE_STAGED,
    HiddenState.VISIBLE: search.HIDDEN_STATE_VISIBLE,
    HiddenState.CANCELLED: search.HIDDEN_STATE_CANCELLED,
    HiddenState.ROLLED_BACK: search.HIDDEN_STATE_ROLLED_BACK,
    HiddenState.LOST: search.HIDDEN_STATE_LOST,
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
            handle=group.handle,
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


def hidden(service: TraceService, request: ClientRequest) -> None:
    """Answer with the facts, and the batch as payload while it is hidden; linearizable."""

    def answer(outcome: HiddenTraced | RaftlogError) -> None:
        if isinstance(outcome, RaftlogError):
            request.fail(outcome)
        else:
            request.reply(_hidden(outcome), (outcome.batch,) if outcome.batch else ())

    message = cast("search.TraceHidden", request.message)
    if message.transactor:
        request.on_cancelled = service.hidden.by_transaction(
            message.transactor, message.number, answer
        )
    else:
        request.on_cancelled = service.hidden.by_id(
            message.queue, message.id, message.due_ms, answer
        )


def _hidden(traced: HiddenTraced) -> search.HiddenTraced:
    message = search.HiddenTraced(
        state=_HIDDEN[traced.state],
        queue=traced.queue,
        topic=traced.topic,
        place=traced.place,
        id=traced.id,
        count=traced.count,
        length=len(traced.batch),
        index=traced.index,
        stored_index=index_of(traced.id),
        stored_ms=traced.stored_ms,
        copied_ms=traced.copied_ms,
        due_ms=traced.due_ms,
        base_offset=traced.base_offset,
        now_ms=traced.now_ms,
    )
    half = traced.half
    if half is not None:
        message.transaction.transaction = half.transaction
        message.transaction.owner = half.owner
        message.transaction.group = half.group
        message.checks = half.checks
        message.next_check_ms = half.next_check_ms
        message.parked = half.parked
        message.decided_ms = half.decided_ms
        message.decided_index = half.decided_index
    return message
