"""Claims: owning a queue, and committing how far it was read, are commits (ruling 12).

There is no way to look a start position up: whoever reads for a group has
claimed the queue, so that the owner before is fenced from then on.
"""

from typing import Final

from raftlog.broker.claims import (
    ClaimQueue,
    CommitOffsets,
    GroupSought,
    OffsetsCommitted,
    QueueClaimed,
    SeekGroup,
)
from raftlog.service.ports import ShardReplica
from raftlog.service.proposing import Reply, propose

Offsets = tuple[tuple[int, int], ...]
"""Queues, and for each the offset of the next record to read."""


class ClaimService:
    """The claims and offsets of one shard's groups."""

    def __init__(self, replica: ShardReplica) -> None:
        self._replica: Final = replica

    def claim(
        self, group: str, member: str, generation: int, queue: int, reply: Reply[QueueClaimed]
    ) -> None:
        """Own a queue; ``Fenced`` if a newer generation or another member owns it."""
        propose(
            *(self._replica, lambda: ClaimQueue(group, queue, generation, member)),
            *(QueueClaimed, reply),
        )

    def commit(
        self,
        group: str,
        member: str,
        generation: int,
        offsets: Offsets,
        reply: Reply[OffsetsCommitted],
    ) -> None:
        """Note offsets, all or none.

        ``Fenced`` for a zombie, ``UnknownMember`` without a claim,
        ``OffsetOutOfRange`` beyond an end, ``OffsetGoesBack`` below what was
        committed.
        """
        propose(
            *(self._replica, lambda: CommitOffsets(group, member, generation, offsets)),
            *(OffsetsCommitted, reply),
        )

    def seek(self, group: str, offsets: Offsets, reply: Reply[GroupSought]) -> None:
        """Set offsets, also backwards, and begin a generation; ``GroupNotFound`` if none."""
        propose(self._replica, lambda: SeekGroup(group, offsets), GroupSought, reply)
