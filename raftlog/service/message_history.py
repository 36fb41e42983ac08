"""What the log says about one message: who has settled it, and which groups have passed it.

::

    entry 70  receive of group work under handle 7      which messages that was, no command says
    entry 71  ack of group work, handle 7: ... 17 ...   so entry 70 has leased 17, too
    entry 80  commit of group billing up to 20          it has passed 17, which it had not before
    entry 90  dead letter of group other, 17

So the leases are looked for in a second walk, by the handles that the first one has found. A
lease that ended by itself, and about which nobody has said anything, is in no command: it is not
told. What a command *came to* is not in the log either: one that came too late is told like
others, and whoever has all events can see that another lease had begun before it.
"""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import islice
from typing import Final

import msgspec

from raftlog.base.errors import BadRequest, Refused
from raftlog.broker.atomic_commands import read_head
from raftlog.broker.claims import ClaimQueue, CommitOffsets, SeekGroup
from raftlog.broker.codec import read_command
from raftlog.broker.commands import CommandType
from raftlog.broker.dead_letters import read_message_of
from raftlog.broker.decisions import Decision
from raftlog.broker.group_commands import DeleteGroup
from raftlog.broker.lease_commands import (
    AckMessages,
    DecideBlocked,
    ExtendLeases,
    GiveBack,
    ReceiveMatching,
    ReceiveMessages,
    ReturnMessages,
    Verdict,
)
from raftlog.broker.queue_seeks import SeekQueueGroup
from raftlog.broker.transactions import AnswerChecks, Decide, ResolveTransaction
from raftlog.service.log_walks import Spot
from raftlog.service.standing import Standing, commit_all

GROUPS_MAX: Final = 1_000
"""Stream-style groups whose commits are followed: that travels with each question."""
HANDLES_MAX: Final = 1_000
"""Of one question for leases."""
NAMES_MAX: Final = 10
"""Handles under which one command names the message, that are told: it has one, but by mistake."""
WEIGHT: Final = 2
"""Of an event, with a name and a reason, in an answer."""

CHECKED_BY: Final = "a checker"
OWNER: Final = "its owner"
BY_HAND: Final = "somebody, by hand"


class EventKind(IntEnum):
    """What a command says about a message. A number is never used again for something else."""

    LEASED = 1
    EXTENDED = 2
    RETURNED = 3
    """An attempt has failed."""
    RELEASED = 4
    """Nobody has tried."""
    REJECTED = 5
    """It can't be handled at all."""
    ACKED = 6
    ACKED_IN_TRANSACTION = 7
    DEAD_LETTER = 8
    """Its dead letter is stored."""
    RETRIED = 9
    """It was blocked, and somebody has decided: so are the next two."""
    SKIPPED = 10
    GIVEN_UP = 11
    COMMITTED = 12
    """A stream-style group has passed it."""
    COMMITTED_IN_TRANSACTION = 13
    SOUGHT = 14
    """A group was moved in its queue."""
    CHECKED = 15
    """Half message: a checker did not know."""
    HALF_COMMITTED = 16
    HALF_ROLLED_BACK = 17


class HistoryEvent(msgspec.Struct, frozen=True, gc=False):
    """One thing that a command says about a message."""

    index: int
    log_time_ms: int
    kind: EventKind
    group: str = ""
    """Of a dead letter: "", and ``number`` is the group's."""
    handle: int = 0
    by: str = ""
    """Who, where a command says that: a member, an owner, a checker."""
    number: int = 0
    """The offset that was committed or sought; the milliseconds of a lease or a delay (-1: as the
    group's schedule says); which check; of a dead letter the group."""
    reason: str = ""


class MessagePlace(msgspec.Struct, frozen=True, gc=False):
    """Which message, and what of it is of interest."""

    queue: int
    offset: int
    group: str = ""
    """"": all groups."""
    transaction: tuple[int, int] = (0, 0)
    """Of a half message: transactor and number."""


_CARRY: Final = msgspec.msgpack.Decoder(dict[str, Standing])
_GIVEN_BACK: Final = {
    GiveBack.RETRY: EventKind.RETURNED,
    GiveBack.UNTRIED: EventKind.RELEASED,
    GiveBack.REJECT: EventKind.REJECTED,
}
_DECIDED: Final = {
    Verdict.RETRY: EventKind.RETRIED,
    Verdict.SKIP: EventKind.SKIPPED,
    Verdict.DEAD_LETTER: EventKind.GIVEN_UP,
}
_HALVES: Final = {
    Decision.COMMITTED: EventKind.HALF_COMMITTED,
    Decision.ROLLED_BACK: EventKind.HALF_ROLLED_BACK,
}
_OF_GROUPS: Final = frozenset(
    {
        int(CommandType.ACK_MESSAGES),
        int(CommandType.EXTEND_LEASES),
        int(CommandType.RETURN_MESSAGES),
        int(CommandType.DECIDE_BLOCKED),
        int(CommandType.CLAIM_QUEUE),
        int(CommandType.COMMIT_OFFSETS),
        int(CommandType.SEEK_GROUP),
        int(CommandType.SEEK_QUEUE_GROUP),
        int(CommandType.DELETE_GROUP),
    }
)
_OTHERS: Final = frozenset({int(CommandType.COMMIT_TRANSACTION), int(CommandType.DEAD_LETTER)})
_OF_HALVES: Final = frozenset(
    {
        int(CommandType.DECIDE),
        int(CommandType.ANSWER_CHECKS),
        int(CommandType.RESOLVE_TRANSACTION),
    }
)


class MessageLook:
    """Looks for what commands say about one message."""

    def __init__(self, place: MessagePlace, carry: bytes = b"") -> None:
        """``carry``: as the question before gave it.

        Raises:
            BadRequest: It is none.
        """
        self._place: Final = place
        self._group: Final = msgspec.msgpack.encode(place.group) if place.group else b""
        halves = _OF_HALVES if any(place.transaction) else frozenset[int]()
        self.kinds = _OF_GROUPS | _OTHERS | halves
        try:
            self._standings: dict[str, Standing] = _CARRY.decode(carry) if carry else {}
        except msgspec.MsgspecError as error:
            raise BadRequest(f"no answer has given this to go on with: {error}") from None

    @property
    def carry(self) -> bytes:
        """What the next question needs to know."""
        return msgspec.msgpack.encode(self._standings)

    def take(self, spot: Spot) -> tuple[list[HistoryEvent], int] | None:
        """Return what a command says about the message; None: nothing."""
        data, group = spot.data, self._group
        if group and spot.kind in _OF_GROUPS and bytes(data[1 : 1 + len(group)]) != group:
            return None
        try:
            found = list(self._read(spot))
        except Refused:
            return None  # it was refused in apply as well
        return (found, WEIGHT * len(found)) if found else None

    def _read(self, spot: Spot) -> Iterator[HistoryEvent]:
        if spot.kind == CommandType.COMMIT_TRANSACTION:
            yield from self._transaction(spot)
        elif spot.kind == CommandType.DEAD_LETTER:
            group, *where = read_message_of(spot.body, spot.begin, spot.length)
            if tuple(where) == (self._place.queue, self._place.offset):
                yield _event(spot, EventKind.DEAD_LETTER, number=group)
        else:
            command = read_command(spot.kind, spot.data)
            match command:
                case AckMessages() | ExtendLeases() | ReturnMessages() | DecideBlocked():
                    yield from self._settled(spot, command)
                case Decide() | AnswerChecks() | ResolveTransaction():
                    yield from self._decided(spot, command)
                case ClaimQueue() | CommitOffsets() | SeekGroup() | SeekQueueGroup():
                    yield from self._moved(spot, command)
                case DeleteGroup():
                    self._standings.pop(command.group, None)
                case _:
                    pass

    # -- queue-style groups

    def _settled(
        self, spot: Spot, command: AckMessages | ExtendLeases | ReturnMessages | DecideBlocked
    ) -> Iterator[HistoryEvent]:
        place = self._place
        if isinstance(command, DecideBlocked):
            if (command.queue, command.offset) == (place.queue, place.offset):
                kind = _DECIDED[Verdict(command.verdict)]
                yield _event(spot, kind, command.group)
            return
        for handle in islice(self._handles(command.names), NAMES_MAX):
            match command:
                case AckMessages():
                    yield _event(spot, EventKind.ACKED, command.group, handle)
                case ExtendLeases():
                    yield _event(
                        *(spot, EventKind.EXTENDED, command.group, handle),
                        number=command.lease_ms,
                    )
                case ReturnMessages():
                    yield _event(
                        *(spot, _GIVEN_BACK[GiveBack(command.how)], command.group, handle),
                        number=command.delay_ms,
                        reason=command.reason,
                    )

    def _handles(self, names: Iterable[tuple[int, int, tuple[int, ...]]]) -> Iterator[int]:
        """Yield the handles under which somebody names the message."""
        place = self._place
        for handle, queue, offsets in names:
            if queue == place.queue and place.offset in offsets:
                yield handle

    def _transaction(self, spot: Spot) -> Iterator[HistoryEvent]:
        head = read_head(spot.body, spot.begin, spot.length)
        wanted = self._place.group
        for ack in head.acks:
            if not wanted or ack.group == wanted:
                for handle in islice(self._handles(ack.names), NAMES_MAX):
                    yield _event(spot, EventKind.ACKED_IN_TRANSACTION, ack.group, handle)
        for commit in head.offsets:
            if not wanted or commit.group == wanted:
                yield from self._committed(spot, commit, EventKind.COMMITTED_IN_TRANSACTION)

    # -- stream-style groups

    def _moved(
        self, spot: Spot, command: ClaimQueue | CommitOffsets | SeekGroup | SeekQueueGroup
    ) -> Iterator[HistoryEvent]:
        queue = self._place.queue
        match command:
            case ClaimQueue():
                standing = self._standing(command.group) if command.queue == queue else None
                if standing is not None:
                    standing.claim(command)
            case CommitOffsets():
                yield from self._committed(spot, command, EventKind.COMMITTED)
            case _:
                to = next((offset for number, offset in command.offsets if number == queue), None)
                if to is None:
                    return
                standing = None
                if isinstance(command, SeekGroup):
                    standing = self._standing(command.group)
                if standing is not None:
                    standing.seek(to)
                yield _event(spot, EventKind.SOUGHT, command.group, number=to)

    def _committed(
        self, spot: Spot, command: CommitOffsets, kind: EventKind
    ) -> Iterator[HistoryEvent]:
        """Yield that a group has passed the message, if it had not, as far as that was seen."""
        place = self._place
        to = next((offset for number, offset in command.offsets if number == place.queue), None)
        standing = None if to is None else self._standing(command.group)
        if to is None or standing is None:
            return
        before, is_part = standing.committed, kind is EventKind.COMMITTED_IN_TRANSACTION
        holds = commit_all(command, {place.queue: standing}, is_part=is_part)
        if holds and before <= place.offset < to:
            yield _event(spot, kind, command.group, by=command.member, number=to)

    def _standing(self, group: str) -> Standing | None:
        """Return where a group is in the queue; None: there are too many."""
        found = self._standings.get(group)
        if found is None and len(self._standings) < GROUPS_MAX:
            found = self._standings[group] = Standing()
        return found

    # -- a half message

    def _decided(
        self, spot: Spot, command: Decide | AnswerChecks | ResolveTransaction
    ) -> Iterator[HistoryEvent]:
        wanted = self._place.transaction
        match command:
            case Decide():
                for number, verdict in command.items:
                    if (command.transactor, number) == wanted:
                        yield _event(spot, _HALVES[Decision(verdict)], by=OWNER)
            case ResolveTransaction():
                if (command.transactor, command.number) == wanted:
                    yield _event(spot, _HALVES[Decision(command.verdict)], by=BY_HAND)
            case AnswerChecks():
                for item in command.items:
                    if (item.transactor, item.number) != wanted:
                        continue
                    kind = EventKind.CHECKED
                    if item.verdict:
                        kind = _HALVES[Decision(item.verdict)]
                    yield _event(spot, kind, command.group, by=CHECKED_BY, number=item.check)


class LeaseLook:
    """Looks for when leases were made, by their handles."""

    kinds = frozenset({int(CommandType.RECEIVE_MESSAGES), int(CommandType.RECEIVE_MATCHING)})
    carry = b""

    def __init__(self, handles: Iterable[int]) -> None:
        self._handles: Final = frozenset(handles)

    def take(self, spot: Spot) -> tuple[list[HistoryEvent], int] | None:
        """Return that a command has leased something under one of the handles."""
        try:
            command = read_command(spot.kind, spot.data)
        except Refused:
            return None
        assert isinstance(command, ReceiveMessages | ReceiveMatching), f"{command}"
        if command.handle not in self._handles:
            return None
        event = _event(
            *(spot, EventKind.LEASED, command.group, command.handle),
            number=command.lease_ms or 0,
        )
        return [event], WEIGHT


def _event(
    spot: Spot,
    kind: EventKind,
    group: str = "",
    handle: int = 0,
    *,
    by: str = "",
    number: int = 0,
    reason: str = "",
) -> HistoryEvent:
    return HistoryEvent(spot.index, spot.log_time_ms, kind, group, handle, by, number, reason)
