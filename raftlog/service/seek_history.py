"""Seeks that the log has: of one group, each with where it goes on from then on.

A seek is one command, and so is every claim and commit. From these follows where a stream-style
group was before: its last commit, by who had claimed the queue. Where a queue-style group was
follows from no command, since none says what was leased.

What a command came to is in no log. A seek is checked before it is proposed, and refused then
without an entry; one that was refused in the moment between, as its topic was deleted, say, or
by an older version, is told like any other.
"""

from typing import Final
from zlib import crc32

import msgspec

from raftlog.base.errors import BadRequest, Refused
from raftlog.broker.atomic_commands import read_head
from raftlog.broker.claims import ClaimQueue, CommitOffsets, SeekGroup
from raftlog.broker.codec import read_command
from raftlog.broker.commands import CommandType
from raftlog.broker.group_commands import DeleteGroup
from raftlog.broker.queue_seeks import SeekQueueGroup
from raftlog.service.log_walks import Spot

QUEUES_MAX: Final = 4_000
"""Of so many queues it is remembered where a group is: that travels with each question."""
MOVES_TOLD_MAX: Final = 1_000
"""Of one seek."""

NOBODY: Final = 0
UNKNOWN: Final = -2
"""Instead of a committed offset: the part of the log that was looked at does not say."""


class SeekMove(msgspec.Struct, frozen=True, gc=False):
    """One queue of a seek. ``before``: committed then; or ``UNKNOWN``."""

    queue: int
    before: int
    after: int


class Seek(msgspec.Struct, frozen=True):
    """One seek in the log."""

    index: int
    log_time_ms: int
    is_queue_style: bool
    moves: list[SeekMove]
    more: int
    """Queues that are not told."""


class _Standing(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Who has claimed a queue, and what is committed, as far as the log was looked at."""

    generation: int
    member: int
    """A checksum of the name."""
    life: int
    committed: int


_CARRY: Final = msgspec.msgpack.Decoder(dict[int, _Standing])


class SeekLook:
    """Looks for the seeks of one group, and notes claims and commits between them."""

    kinds = frozenset(
        {
            int(CommandType.SEEK_GROUP),
            int(CommandType.SEEK_QUEUE_GROUP),
            int(CommandType.CLAIM_QUEUE),
            int(CommandType.COMMIT_OFFSETS),
            int(CommandType.COMMIT_TRANSACTION),
            int(CommandType.DELETE_GROUP),
        }
    )

    def __init__(self, group: str, carry: bytes = b"") -> None:
        """``carry``: as the question before gave it.

        Raises:
            BadRequest: It is none.
        """
        self._group: Final = group
        self._name: Final = msgspec.msgpack.encode(group)
        try:
            self._queues: dict[int, _Standing] = _CARRY.decode(carry) if carry else {}
        except msgspec.MsgspecError as error:
            raise BadRequest(f"no answer has given this to go on with: {error}") from None

    @property
    def carry(self) -> bytes:
        """What the next question needs to know."""
        return msgspec.msgpack.encode(self._queues)

    def take(self, spot: Spot) -> tuple[Seek, int] | None:
        """Return the seek that a command is."""
        kind, data = spot.kind, spot.data
        if kind == CommandType.COMMIT_TRANSACTION:
            self._transaction(spot)
            return None
        if bytes(data[1 : 1 + len(self._name)]) != self._name:
            return None  # of another group: each of these begins with it
        try:
            command = read_command(kind, data)
        except Refused:
            return None  # it was refused in apply as well
        match command:
            case ClaimQueue():
                self._claim(command)
            case CommitOffsets():
                self._commit(command)
            case DeleteGroup():
                self._queues.clear()
            case SeekGroup() | SeekQueueGroup():
                return self._seek(spot, command)
            case _:
                pass
        return None

    def _transaction(self, spot: Spot) -> None:
        try:
            head = read_head(spot.body, spot.begin, spot.length)
        except Refused:
            return
        for commit in head.offsets:
            if commit.group == self._group:
                self._commit(commit)

    def _claim(self, command: ClaimQueue) -> None:
        row, member = self._queues.get(command.queue), _checksum(command.member)
        if row is None:
            if len(self._queues) < QUEUES_MAX:
                self._queues[command.queue] = _Standing(
                    command.generation, member, command.life, UNKNOWN
                )
        elif not _is_fenced(row, command.generation, member, command.life, free=NOBODY):
            row.generation, row.member, row.life = command.generation, member, command.life

    def _commit(self, command: CommitOffsets) -> None:
        member = _checksum(command.member)
        read_from = command.read_from or (None,) * len(command.offsets)
        wanted = [
            (row, offset, since)
            for (queue, offset), since in zip(command.offsets, read_from, strict=True)
            if (row := self._queues.get(queue)) is not None
        ]
        for row, offset, since in wanted:
            if (row.generation, row.member, row.life) != (
                *(command.generation, member),
                command.life,
            ):
                return  # fenced, and with it all of it
            if row.committed != UNKNOWN and (
                offset < row.committed if since is None else since != row.committed
            ):
                return
        for row, offset, _ in wanted:
            row.committed = offset

    def _seek(self, spot: Spot, command: SeekGroup | SeekQueueGroup) -> tuple[Seek, int]:
        is_queue_style = isinstance(command, SeekQueueGroup)
        moves = []
        for queue, offset in command.offsets:
            row = self._queues.get(queue)
            before = UNKNOWN if row is None else row.committed
            moves.append(SeekMove(queue, before, offset))
            if row is not None:
                row.generation += 1  # at least: a later one is in no command but the next claim
                row.member, row.life, row.committed = NOBODY, 0, offset
            elif not is_queue_style and len(self._queues) < QUEUES_MAX:
                self._queues[queue] = _Standing(0, NOBODY, 0, offset)
        told = moves[:MOVES_TOLD_MAX]
        found = Seek(
            *(spot.index, spot.log_time_ms, is_queue_style, told),
            more=len(moves) - len(told),
        )
        return found, len(told)


def _checksum(member: str) -> int:
    return crc32(member.encode()) or 1


def _is_fenced(row: _Standing, generation: int, member: int, life: int, *, free: int) -> bool:
    """Whether a claim is refused: as ``broker.claims`` decides."""
    if generation != row.generation:
        return generation < row.generation
    return row.member not in (member, free) or life < row.life
