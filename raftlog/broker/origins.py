"""What the log says of a stored batch: which command brought it, when, and what it promised.

A posting says where the bytes of a batch lie; the command round them says why they lie there.
Bodies that were relocated lie in another command than the one that brought them: that one's
number is in the copy's, and if the log still has its entry, it is asked, too.
"""

from enum import IntEnum
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadRequest
from raftlog.base.ids import Index
from raftlog.broker.commands import CommandType, decode
from raftlog.broker.dead_letters import read_message_of
from raftlog.broker.delays import read_delayed
from raftlog.broker.places import POSITION_BITS, index_of
from raftlog.broker.relocations import read_relocation
from raftlog.broker.transactions import read_half


class Origin(IntEnum):
    """How a batch came into the log. A number is never used again for something else."""

    UNKNOWN = 0
    """The log does not have its entry any more, or a later version's command brought it."""
    SENT = 1
    DELAYED = 2
    HALF = 3
    DEAD_LETTER = 4
    ATOMIC = 5
    """With other batches, offsets or acks in one transaction."""


class Brought(msgspec.Struct, frozen=True):
    """What the command says that has a batch's bytes."""

    origin: Origin
    index: Index
    log_time_ms: int
    due_ms: int = 0
    """Of a delayed one."""
    transaction: tuple[int, int] = (0, 0)
    """Of a half message: transactor and number."""
    buried: tuple[int, int, int] = (0, 0, 0)
    """Of a dead letter: the group's number, queue and offset of the message that it was."""
    copy_of: int = 0
    """The bytes are a copy: the number of the command that brought them first."""
    is_survivor: bool = False
    """They were copied forward: the command that brought them went with its range."""
    span: tuple[int, int] = (0, 0)
    """Of a delayed one: where its command begins and ends in its entry's body."""


_PLAIN: Final = frozenset({CommandType.APPEND_BATCH, CommandType.APPEND_ONCE})
_ATOMIC: Final = frozenset({CommandType.COMMIT_TRANSACTION, CommandType.STAGE_BATCH})


def brought_at(body: Buffer, index: Index, position: int) -> Brought:
    """Return what brought the batch whose first byte is at ``position`` of an entry's body.

    Raises:
        Refused: The body is not what is in the log.
        IncompatibleFormat, CorruptFrame: As ``decode``.
    """
    commands = decode(body)
    for kind, begin, length in commands:
        if begin <= position < begin + length:
            return _brought(body, (kind, begin, length), position, index, commands.log_time_ms)
    raise BadRequest(f"entry {index} has no command at {position}")


def first_brought(body: Buffer, number: int) -> Brought:
    """Return what the command of a number says, of the batch that it brought; raises likewise."""
    commands = decode(body)
    which = number & (1 << POSITION_BITS) - 1
    if which >= len(commands):
        raise BadRequest(f"entry {index_of(number)} has {len(commands)} commands, not {which + 1}")
    place = commands.places[which]
    return _brought(body, place, place[1], index_of(number), commands.log_time_ms)


def _brought(
    body: Buffer, place: tuple[int, int, int], position: int, index: Index, log_time_ms: int
) -> Brought:
    kind, begin, length = place
    facts = (index, log_time_ms)
    if kind in _PLAIN:
        return Brought(Origin.SENT, *facts)
    if kind in _ATOMIC:
        return Brought(Origin.ATOMIC, *facts)
    if kind == CommandType.APPEND_DELAYED:
        _, delay = read_delayed(body, begin, length)
        due_ms = log_time_ms + delay.ms if delay.relative else delay.ms
        span = (begin, begin + length)
        return Brought(Origin.DELAYED, *facts, due_ms=max(due_ms, log_time_ms), span=span)
    if kind == CommandType.STAGE_HALF:
        return Brought(Origin.HALF, *facts, transaction=read_half(body, begin)[:2])
    if kind == CommandType.DEAD_LETTER:
        return Brought(Origin.DEAD_LETTER, *facts, buried=read_message_of(body, begin, length))
    if kind == CommandType.RELOCATE:
        for item, at in read_relocation(body, begin, length):
            if at == position:
                return Brought(Origin.UNKNOWN, *facts, copy_of=item.key[1])
    return Brought(Origin.UNKNOWN, *facts, is_survivor=kind == CommandType.COPY_FORWARD)
