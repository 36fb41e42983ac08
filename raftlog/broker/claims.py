"""Claims: who may commit offsets of a queue for a group, and what was committed (ruling 12).

::

    m1 (generation 5) pauses; m2 claims in generation 6 and reads from 55
    m1 wakes and commits 60 in generation 5  -->  fenced: the claim is 6's

A claim is the only way to a start position. Offsets go back by a seek alone,
and a seek takes every claim away.

The fence tells members and generations apart, and not two readings by one member in
one generation. Where what was read is counted (``broker.atomic``), a commit says
from where it was read, and holds only if that is still what is committed::

    m1 reads 0, commits 1 with what it made of it; no answer   m1 goes back, reads 0 again
    the late copy: read from nothing, 1                  -->  committed 1
    m1 commits 1 with what it made of 0 again:
    read from nothing, 1                                 -->  fenced: 1 is committed
"""

from collections.abc import Iterable
from itertools import zip_longest
from typing import Annotated, Final

import msgspec

from raftlog.base.errors import (
    BadRequest,
    Fenced,
    LimitReached,
    OffsetGoesBack,
    OffsetOutOfRange,
    UnknownMember,
)
from raftlog.base.ids import Offset
from raftlog.base.limits import CLAIMS_MAX, OFFSETS_PER_COMMAND_MAX
from raftlog.base.names import check_name
from raftlog.broker.commands import READ_FROM_LEVEL
from raftlog.broker.queues import Queues
from raftlog.broker.table import Table
from raftlog.broker.values import Count, Name, QueueNumber

Offsets = Annotated[
    tuple[tuple[QueueNumber, Count], ...],
    msgspec.Meta(min_length=1, max_length=OFFSETS_PER_COMMAND_MAX),
]
"""Pairs of queue and offset, each queue once."""

NOTHING: Final = -1
"""Instead of a committed offset: there is none yet."""
ReadFrom = Annotated[
    tuple[Annotated[int, msgspec.Meta(ge=NOTHING)] | None, ...],
    msgspec.Meta(max_length=OFFSETS_PER_COMMAND_MAX),
]


def _check_distinct(offsets: tuple[tuple[int, int], ...]) -> None:
    if len({queue for queue, _ in offsets}) != len(offsets):
        raise BadRequest("a queue is named twice")


class ClaimQueue(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Own a queue in a generation. Outcome: ``QueueClaimed``."""

    group: str
    queue: QueueNumber
    generation: Count
    member: str
    life: Count = 0

    def __post_init__(self) -> None:
        """Refuse a name that no group or member can have: ``BadName``."""
        check_name(self.group, "group")
        check_name(self.member, "member")


class CommitOffsets(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Note how far a member has read, all of it or nothing. Outcome: ``OffsetsCommitted``.

    An offset is that of the next record to read.
    """

    group: Name
    member: Name
    generation: Count
    offsets: Offsets
    life: Count = 0
    read_from: ReadFrom = ()
    """For each of them the committed offset from which it was read; ``NOTHING``: there was none;
    None: that is not said, as nowhere if this is (). It holds only if that is committed now."""

    def __post_init__(self) -> None:
        """Refuse what can't be: ``BadName``, or ``BadRequest``.

        Who is nobody; a queue that is named twice; an offset that is not behind the one it was
        read from.
        """
        check_name(self.member, "member")
        _check_distinct(self.offsets)
        if self.read_from and len(self.read_from) != len(self.offsets):
            raise BadRequest("it is said of some offsets only from where they were read")
        for (queue, offset), read_from in zip(self.offsets, self.read_from, strict=False):
            if read_from is not None and offset <= read_from:
                raise BadRequest(
                    f"nothing of queue {queue} was read from {read_from} up to {offset}"
                )


def _is_readable_at(level: int, command: CommitOffsets) -> bool:
    """Whether a member can read a commit that applies by the rules of a feature level."""
    return not command.read_from or level >= READ_FROM_LEVEL


def check_level(level: int, command: CommitOffsets) -> None:
    """Refuse what a member can't read that applies by the rules of a lower level.

    Raises:
        BadRequest: Such a member refuses it, so everybody does.
    """
    if not _is_readable_at(level, command):
        raise BadRequest(
            f"at feature level {level} it can't be said from where an offset was read"
        )


def at_level(level: int, command: CommitOffsets) -> CommitOffsets:
    """Return a commit as a shard of this feature level can take it; ``check_level`` lets it pass.

    From where was read is left out if some member can't read it: the rule is the old one then.
    """
    if _is_readable_at(level, command):
        return command
    return msgspec.structs.replace(command, read_from=())


class SeekGroup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Set offsets, also backwards, and begin a generation. Outcome: ``GroupSought``."""

    group: Name
    offsets: Offsets

    def __post_init__(self) -> None:
        """Refuse a queue that is named twice: ``BadRequest``."""
        _check_distinct(self.offsets)


class QueueClaimed(msgspec.Struct, frozen=True, gc=False):
    """The claim holds; ``committed`` is None if nothing ever was."""

    committed: Offset | None
    start: Offset
    end: Offset


class OffsetsCommitted(msgspec.Struct, frozen=True, gc=False):
    """They are."""


class GroupSought(msgspec.Struct, frozen=True, gc=False):
    """They are, from this generation on."""

    generation: int


# -- behaviour

NOBODY: Final = ""
"""Owns what was sought and not claimed since."""


class Claim(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Who owns a queue for a group, and how far it was read. A row of state."""

    group: str
    queue: int
    generation: int
    member: str
    committed: Offset | None = None
    life: int = 0
    """Of a static member; a commit of an earlier one is fenced."""


class Claims:
    """The claims of one shard, by group and queue.

    They know nothing of the groups, which may live in another shard some day:
    the highest generation that was ever claimed is all the fence that is needed.
    """

    def __init__(self, queues: Queues) -> None:
        self.table: Final[Table[tuple[str, int], Claim]] = Table()
        self._queues = queues
        self._groups: Final[dict[int, set[str]]] = {}
        """For each queue the groups that have a claim to it."""

    def load(self, rows: Iterable[Claim]) -> None:
        """Start from a snapshot."""
        self.table.load(((row.group, row.queue), row) for row in rows)
        self._groups.clear()
        for group, queue in self.table.rows:
            self._groups.setdefault(queue, set()).add(group)

    def get(self, group: str, queue: int) -> Claim | None:
        """Return the claim, or None."""
        return self.table.get((group, queue))

    def groups_of(self, queue: int) -> set[str]:
        """Return the groups that have a claim to a queue."""
        return set(self._groups.get(queue, ()))

    def of_group(self, group: str) -> list[tuple[int, Claim]]:
        """Return a group's claims, in the order of queue numbers."""
        found: list[tuple[int, Claim]] = []
        for claim in self.table.after((group, -1)):
            if claim.group != group:
                break
            found.append((claim.queue, claim))
        return found

    def claim(self, command: ClaimQueue) -> QueueClaimed:
        """Give a queue to a member.

        Raises:
            WrongQueue: There is no such queue.
            Fenced: A later generation, or another member in this one, has it.
            LimitReached: Too many claims.
        """
        queue = self._queues.find(command.queue)
        claim = self.table.get((command.group, command.queue))
        if claim is None:
            self._check_room(1)
            claim = self._put(
                Claim(command.group, command.queue, command.generation, command.member)
            )
        else:
            _check_fence(claim, command, free=NOBODY)
            self.table.touch((command.group, command.queue))
            claim.generation, claim.member = command.generation, command.member
        claim.life = command.life
        return QueueClaimed(claim.committed, queue.start_offset, queue.end_offset)

    def commit(self, command: CommitOffsets) -> OffsetsCommitted:
        """Note how far queues were read: all of them, or none. Raises as ``check_commit``."""
        for claim, offset in self.check_commit(command):
            self.table.touch((claim.group, claim.queue))
            claim.committed = Offset(offset)
        return OffsetsCommitted()

    def check_commit(self, command: CommitOffsets) -> list[tuple[Claim, int]]:
        """Return the claims whose offsets can be committed so: all of them.

        Raises:
            WrongQueue: There is no such queue.
            UnknownMember: A queue was not claimed, or not in this generation yet.
            Fenced: A later generation, or another member in this one, has a queue; or more was
                committed since it was read.
            OffsetOutOfRange: Beyond a queue's end.
            OffsetGoesBack: Below what was committed.
        """
        found: list[tuple[Claim, int]] = []
        for (number, offset), read_from in zip_longest(command.offsets, command.read_from):
            queue = self._queues.find(number)
            claim = self.table.get((command.group, number))
            if claim is None or command.generation > claim.generation:
                raise UnknownMember(
                    f"queue {number} was not claimed for group {command.group!r} in generation "
                    f"{command.generation}"
                )
            _check_fence(claim, command)
            if command.life > claim.life:
                raise UnknownMember(f"queue {number} was not claimed in life {command.life}")
            if offset > queue.end_offset:
                raise OffsetOutOfRange(offset, queue.start_offset, queue.end_offset)
            if read_from is not None:
                _check_read_from(claim, read_from)
            elif claim.committed is not None and offset < claim.committed:
                raise OffsetGoesBack(
                    f"queue {number} is committed up to {claim.committed}; {offset} is before that"
                )
            found.append((claim, offset))
        return found

    def check_seek(self, command: SeekGroup) -> None:
        """Check that offsets can be set.

        Raises:
            WrongQueue: There is no such queue.
            OffsetOutOfRange: Before a queue's start or beyond its end.
            LimitReached: Too many claims.
        """
        for number, offset in command.offsets:
            queue = self._queues.find(number)
            if not queue.start_offset <= offset <= queue.end_offset:
                raise OffsetOutOfRange(offset, queue.start_offset, queue.end_offset)
        self._check_room(
            sum((command.group, number) not in self.table.rows for number, _ in command.offsets)
        )

    def seek(self, command: SeekGroup, generation: int) -> None:
        """Set offsets that were checked; whoever owned the queues is fenced by ``generation``."""
        for number, offset in command.offsets:
            key = (command.group, number)
            claim = self.table.get(key)
            if claim is None:
                claim = self._put(Claim(*key, generation, NOBODY))
            self.table.touch(key)
            claim.generation, claim.member = generation, NOBODY
            claim.life = 0
            claim.committed = Offset(offset)

    def forget_group(self, group: str) -> None:
        """Forget every claim of a group that was deleted."""
        for queue, _ in self.of_group(group):
            self.table.delete((group, queue))
            self._unlink(group, queue)

    def forget_queue(self, queue: int) -> None:
        """Forget every claim to a queue that was closed."""
        for group in self._groups.pop(queue, ()):
            self.table.delete((group, queue))

    def _put(self, claim: Claim) -> Claim:
        self.table.put((claim.group, claim.queue), claim)
        self._groups.setdefault(claim.queue, set()).add(claim.group)
        return claim

    def _unlink(self, group: str, queue: int) -> None:
        groups = self._groups[queue]
        groups.remove(group)
        if not groups:
            del self._groups[queue]

    def _check_room(self, count: int) -> None:
        if len(self.table) + count > CLAIMS_MAX:
            raise LimitReached(f"groups have claims to {len(self.table)} queues; {CLAIMS_MAX} may")


def _check_read_from(claim: Claim, read_from: int) -> None:
    """Raise ``Fenced`` unless ``read_from`` is what is committed.

    Another transaction has committed since; or an offset was set by hand, and the claim made
    anew, while this one was on its way.
    """
    committed = NOTHING if claim.committed is None else claim.committed
    if read_from != committed:
        was, now = ("nothing" if at == NOTHING else str(at) for at in (read_from, committed))
        raise Fenced(
            f"queue {claim.queue} was read when {was} was committed, and {now} is now: what was "
            "read may be finished already; read it again from there"
        )


def _check_fence(
    claim: Claim, command: ClaimQueue | CommitOffsets, free: str | None = None
) -> None:
    """Raise ``Fenced`` unless the claim is of an earlier generation or life, or ``free``."""
    generation, member = command.generation, command.member
    if generation < claim.generation:
        raise Fenced(
            f"generation {generation} is over: queue {claim.queue} was claimed in "
            f"{claim.generation}"
        )
    if generation == claim.generation and claim.member not in (member, free):
        raise Fenced(
            f"queue {claim.queue} is {claim.member or 'nobody'}'s in generation {generation}"
        )
    if generation == claim.generation and command.life < claim.life:
        raise Fenced(
            f"a later process runs as member {member!r}: queue {claim.queue} was claimed in life "
            f"{claim.life}, and this one is {command.life}"
        )
