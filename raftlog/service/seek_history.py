"""Seeks that the log has: of one group, each with where it goes on from then on.

A seek is one command, and so is every claim and commit. From these follows where a stream-style
group was before: its last commit, by who had claimed the queue. Where a queue-style group was
follows from no command, since none says what was leased.

What a command came to is in no log. A seek is checked before it is proposed, and refused then
without an entry; one that was refused in the moment between, as its topic was deleted, say, or
by an older version, is told like any other.
"""

from typing import Final

import msgspec

from raftlog.base.errors import BadRequest, Refused
from raftlog.broker.atomic_commands import read_head
from raftlog.broker.claims import ClaimQueue, CommitOffsets, SeekGroup
from raftlog.broker.codec import read_command
from raftlog.broker.commands import CommandType
from raftlog.broker.group_commands import DeleteGroup
from raftlog.broker.queue_seeks import SeekQueueGroup
from raftlog.service.log_walks import Spot
from raftlog.service.standing import UNKNOWN, Standing, commit_all

QUEUES_MAX: Final = 3_000
"""Of so many queues it is remembered where a group is: that travels with each question."""
MOVES_TOLD_MAX: Final = 1_000
"""Of one seek."""


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


_CARRY: Final = msgspec.msgpack.Decoder(tuple[bool, dict[int, Standing]])


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

    def __init__(self, group: str, carry: bytes = b"", *, is_whole: bool = False) -> None:
        """``carry``: as the question before gave it; else ``is_whole``: the log has its beginning.

        Raises:
            BadRequest: It is none.
        """
        self._group: Final = group
        self._name: Final = msgspec.msgpack.encode(group)
        self._is_whole, self._queues = is_whole, dict[int, Standing]()
        try:
            if carry:
                self._is_whole, self._queues = _CARRY.decode(carry)
        except msgspec.MsgspecError as error:
            raise BadRequest(f"no answer has given this to go on with: {error}") from None

    @property
    def carry(self) -> bytes:
        """What the next question needs to know."""
        return msgspec.msgpack.encode((self._is_whole, self._queues))

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
                self._commit(command, is_part=False)
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
                self._commit(commit, is_part=True)

    def _standing(self, queue: int) -> Standing | None:
        """Return where the group is in a queue; None: there are too many."""
        found = self._queues.get(queue)
        if found is None and len(self._queues) < QUEUES_MAX:
            # Where every claim was seen, nobody commits who has none.
            found = self._queues[queue] = Standing(is_sure=self._is_whole)
        return found

    def _claim(self, command: ClaimQueue) -> None:
        standing = self._standing(command.queue)
        if standing is not None:
            standing.claim(command)

    def _commit(self, command: CommitOffsets, *, is_part: bool) -> None:
        for queue, _ in command.offsets:
            self._standing(queue)
        commit_all(command, self._queues, is_part=is_part)

    def _seek(self, spot: Spot, command: SeekGroup | SeekQueueGroup) -> tuple[Seek, int]:
        is_queue_style = isinstance(command, SeekQueueGroup)
        moves = []
        for queue, offset in command.offsets:
            standing = None if is_queue_style else self._standing(queue)
            before = UNKNOWN if standing is None else standing.committed
            moves.append(SeekMove(queue, before, offset))
            if standing is not None:
                standing.seek(offset)
        told = moves[:MOVES_TOLD_MAX]
        found = Seek(
            *(spot.index, spot.log_time_ms, is_queue_style, told),
            more=len(moves) - len(told),
        )
        return found, len(told)
