"""The request for the seeks of a group."""

from typing import Final, cast

from raftlog.base.errors import BadRequest
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.places import POSITION_BITS
from raftlog.service.answers import answer_with
from raftlog.service.log_walks import LogWalks, Walked
from raftlog.service.ports import ClientRequest
from raftlog.service.seek_history import UNKNOWN, Seek, SeekLook, SeekMove
from raftlog.wire.schema import search

POSITION_MAX: Final = (1 << 63) - 1


def list_(walks: LogWalks, request: ClientRequest) -> None:
    """Answer with the seeks of a stretch of the log, and where to go on."""
    message = cast("search.ListSeeks", request.message)
    machine = walks.machine
    try:
        look = SeekLook(message.group, message.carry)
    except BadRequest as error:
        request.fail(error)
        return
    position = min(message.position, POSITION_MAX)
    if not position and message.since_ms:
        position = machine.sealed_before(message.since_ms) + 1 << POSITION_BITS

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
