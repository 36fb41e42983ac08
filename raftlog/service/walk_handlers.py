"""Requests that walk through the log: the seeks of a group, the history of a message."""

from typing import Final, cast

from raftlog.base.errors import BadRequest
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.places import POSITION_BITS
from raftlog.service.answers import answer_with
from raftlog.service.log_walks import LogWalks, Walked
from raftlog.service.message_history import (
    HANDLES_MAX,
    EventKind,
    HistoryEvent,
    LeaseLook,
    MessageLook,
    MessagePlace,
)
from raftlog.service.ports import ClientRequest
from raftlog.service.seek_history import Seek, SeekLook, SeekMove
from raftlog.service.standing import UNKNOWN
from raftlog.wire.schema import search

POSITION_MAX: Final = (1 << 63) - 1


def seeks(walks: LogWalks, request: ClientRequest) -> None:
    """Answer with the seeks of a stretch of the log, and where to go on."""
    message = cast("search.ListSeeks", request.message)
    machine = walks.machine
    position = _position(machine, message.position, message.since_ms)
    try:
        is_whole = not position and not machine.trimmed
        look = SeekLook(message.group, message.carry, is_whole=is_whole)
    except BadRequest as error:
        request.fail(error)
        return

    def listed(walked: Walked[Seek]) -> search.SeeksListed:
        return search.SeeksListed(
            seeks=[_seek(machine, each) for each in walked.found],
            began=walked.began,
            next=walked.next,
            end=walked.end,
            carry=look.carry,
            now_ms=machine.log_time_ms,
        )

    request.on_cancelled = walks.walk(position, look, answer_with(request, listed))


def _position(machine: BrokerMachine, position: int, since_ms: int) -> int:
    """Return where a walk begins: where it was, or where about a log time is."""
    if not position and since_ms:
        return machine.sealed_before(since_ms) + 1 << POSITION_BITS
    return min(position, POSITION_MAX)


def _seek(machine: BrokerMachine, seek: Seek) -> search.Seek:
    return search.Seek(
        index=seek.index,
        log_time_ms=seek.log_time_ms,
        queue_style=seek.is_queue_style,
        moves=[_move(machine, each) for each in seek.moves],
        more=seek.more,
    )


def _move(machine: BrokerMachine, move: SeekMove) -> search.SeekMove:
    queue = machine.queues.get(move.queue)
    found = search.SeekMove(
        queue=move.queue,
        topic="" if queue is None else queue.topic,
        place=0 if queue is None else queue.place,
        after=move.after,
    )
    if move.before != UNKNOWN:
        found.before = move.before
    return found


def history(walks: LogWalks, request: ClientRequest) -> None:
    """Answer with what a stretch of the log says about a message, and where to go on."""
    message = cast("search.TraceHistory", request.message)
    machine = walks.machine
    place = MessagePlace(
        *(message.queue, message.offset, message.group),
        (message.transactor, message.number),
    )
    if len(message.handles) > HANDLES_MAX:
        request.fail(BadRequest(f"{len(message.handles)} handles; {HANDLES_MAX} at once at most"))
        return
    handles, carry = message.handles, message.carry
    look: MessageLook | LeaseLook
    try:
        look = LeaseLook(handles) if handles else MessageLook(place, carry)
    except BadRequest as error:
        request.fail(error)
        return

    def told(walked: Walked[list[HistoryEvent]]) -> search.HistoryTold:
        events = (_event(machine, event) for found in walked.found for event in found)
        return search.HistoryTold(
            events=[each for each in events if each.group == message.group or not message.group],
            began=walked.began,
            next=walked.next,
            end=walked.end,
            carry=look.carry,
            now_ms=machine.log_time_ms,
        )

    position = _position(machine, message.position, message.since_ms)
    request.on_cancelled = walks.walk(position, look, answer_with(request, told))


def _event(machine: BrokerMachine, event: HistoryEvent) -> search.HistoryEvent:
    group, number = event.group, event.number
    if event.kind is EventKind.DEAD_LETTER:
        found = machine.leasing.groups.numbered(number)
        group, number = "" if found is None else found.name, 0
    return search.HistoryEvent(
        index=event.index,
        log_time_ms=event.log_time_ms,
        kind=cast("search.HistoryKind.ValueType", int(event.kind)),
        group=group,
        handle=event.handle,
        by=event.by,
        number=number,
        reason=event.reason,
    )
