"""Claims: owning a queue, and committing how far it was read, are commits (ruling 12).

There is no way to look a start position up: whoever reads for a group has
claimed the queue, so that the owner before is fenced from then on.

A claim of a generation that nobody began is refused here alone, before it is in
the log: it would fence every member that comes after it. One that is no member's
does not travel through the log in vain; apply looks again, because the member may
leave, and its group be deleted, in entries before the claim's.
"""

from collections.abc import Callable
from typing import Final

from raftlog.base.errors import Fenced, RaftlogError, UnknownMember
from raftlog.broker.claims import (
    ClaimQueue,
    CommitOffsets,
    GroupSought,
    OffsetsCommitted,
    QueueClaimed,
    SeekGroup,
    at_level,
)
from raftlog.broker.codec import write_command
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.queue_groups import check_stream_style
from raftlog.broker.shares import QueuesReleased, ReleaseQueues
from raftlog.service.ports import ShardReplica
from raftlog.service.proposing import Reply, propose, propose_checked, when_settled

Offsets = tuple[tuple[int, int], ...]
"""Queues, and for each the offset of the next record to read."""


class ClaimService:
    """The claims and offsets of one shard's groups."""

    def __init__(self, replica: ShardReplica, machine: BrokerMachine) -> None:
        self._replica: Final = replica
        self._machine: Final = machine

    def claim(
        self,
        group: str,
        member: str,
        generation: int,
        queue: int,
        reply: Reply[QueueClaimed],
        *,
        life: int = 0,
    ) -> None:
        """Own a queue.

        ``UnknownMember`` for who is none, or of a generation that has not begun;
        ``Fenced`` if a newer generation or another member owns the queue, or a later
        process runs as this member.
        """

        def make() -> ClaimQueue:
            return ClaimQueue(group, queue, generation, member, life)

        def sure(error: RaftlogError | None) -> None:
            error = error or self._refusal(group, member, generation, life)
            if error is None:
                propose(self._replica, make, QueueClaimed, reply)
            else:
                reply(error)

        if self._refusal(group, member, generation, life) is None:
            propose(self._replica, make, QueueClaimed, reply)
        else:  # a new leader may not have applied the member's join yet
            self._replica.read_index(sure)

    def _refusal(self, name: str, member: str, generation: int, life: int) -> RaftlogError | None:
        try:
            group = self._machine.groups.check_member(name, member, life)
        except (UnknownMember, Fenced) as error:
            return error
        if generation > group.generation:
            return UnknownMember(
                f"generation {generation} of group {name!r} has not begun: it is in "
                f"{group.generation}; join again"
            )
        return None

    def commit(self, make: Callable[[], CommitOffsets], reply: Reply[OffsetsCommitted]) -> None:
        """Note the offsets that ``make`` says, all or none.

        ``Fenced`` for a zombie, ``UnknownMember`` without a claim,
        ``OffsetOutOfRange`` beyond an end, ``OffsetGoesBack`` below what was
        committed.
        """

        def go_on() -> None:
            level = self._machine.feature_level
            propose(self._replica, lambda: at_level(level, make()), OffsetsCommitted, reply)

        when_settled(self._replica, go_on, reply)

    def release(
        self, group: str, member: str, queues: Offsets, life: int, reply: Reply[QueuesReleased]
    ) -> None:
        """Let the heirs of revoked queues have them; asking again is harmless.

        ``UnknownMember`` for who is none, ``Fenced`` if a later process runs as this member.
        """
        propose(
            *(self._replica, lambda: ReleaseQueues(group, member, queues, life)),
            *(QueuesReleased, reply),
        )

    def seek(self, group: str, offsets: Offsets, reply: Reply[GroupSought]) -> None:
        """Set offsets, also backwards, and begin a generation.

        ``GroupNotFound`` if there is no such group, ``GroupStyle`` if it is queue-style,
        ``WrongQueue``, ``OffsetOutOfRange``, ``LimitReached``.
        """
        propose_checked(
            *(self._replica, lambda: SeekGroup(group, offsets), self._check_seek),
            *(GroupSought, reply),
        )

    def _check_seek(self, command: SeekGroup) -> None:
        """Raise what apply would."""
        write_command(command)
        check_stream_style(self._machine.leasing.groups, command.group)
        self._machine.groups.find(command.group)
        self._machine.claims.check_seek(command)
