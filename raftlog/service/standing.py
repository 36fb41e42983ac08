"""How far a stream-style group is in a queue, as the commands of the log tell it.

What a command came to is in no log, so it is decided again here, as ``broker.claims`` does, from
the claims and commits that were seen. A transaction may have been refused for what else is in
it, or be a copy: so what was committed before is kept, too, until the next commit tells. Before
the first claim that is seen there may be one that was not: then who commits is believed, until a
later generation does.
"""

from collections.abc import Mapping
from typing import Final
from zlib import crc32

import msgspec

from raftlog.broker.claims import ClaimQueue, CommitOffsets

NOBODY: Final = 0
UNKNOWN: Final = -2
"""Instead of a committed offset: what was seen of the log does not say."""


class Standing(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """Who has claimed a queue for a group, and what is committed there."""

    generation: int = 0
    member: int = NOBODY
    """A checksum of the name."""
    life: int = 0
    committed: int = UNKNOWN
    other: int = UNKNOWN
    """What was committed before the last transaction: perhaps it still is."""
    is_sure: bool = False
    """Whether a claim was seen, or a seek; or there was none before."""

    def claim(self, command: ClaimQueue) -> None:
        """A member claims the queue."""
        member = checksum(command.member)
        if self.is_sure and command.generation <= self.generation:
            is_own = self.member in (member, NOBODY) and command.life >= self.life
            if command.generation < self.generation or not is_own:
                return
        self.generation, self.member, self.life = command.generation, member, command.life
        self.is_sure = True

    def takes(self, command: CommitOffsets, offset: int, read_from: int | None) -> bool:
        """Whether an offset is committed by this: it is in force then, with the whole command."""
        mine = (self.generation, self.member, self.life)
        if (command.generation, checksum(command.member), command.life) != mine:
            is_later = command.generation > self.generation or self.member == NOBODY
            return is_later and not self.is_sure
        if self.committed == UNKNOWN:
            return True
        maybe = self._committed
        return offset >= min(maybe) if read_from is None else read_from in maybe

    @property
    def _committed(self) -> tuple[int, ...]:
        """What may be committed; it is known that something is."""
        if self.other == UNKNOWN:
            return (self.committed,)
        return self.committed, self.other

    def commit(
        self, command: CommitOffsets, offset: int, read_from: int | None, *, is_part: bool
    ) -> None:
        """An offset is committed, which ``takes`` has let pass; ``is_part``: of a transaction."""
        before = min(self._committed) if read_from is None else read_from
        self.generation, self.member, self.life = (
            *(command.generation, checksum(command.member)),
            command.life,
        )
        self.committed, self.other = offset, before if is_part else UNKNOWN

    def seek(self, offset: int) -> None:
        """An offset is set: whoever owned the queue does not any more."""
        self.generation += 1  # at least: a later one is in no command but the next claim
        self.member, self.life, self.is_sure = NOBODY, 0, True
        self.committed, self.other = offset, UNKNOWN


def commit_all(
    command: CommitOffsets, standings: Mapping[int, Standing], *, is_part: bool
) -> bool:
    """Commit offsets in those queues that have a standing, all or none; return whether.

    ``is_part``: of a transaction.
    """
    read_from = command.read_from or (None,) * len(command.offsets)
    wanted = [
        (standing, offset, since)
        for (queue, offset), since in zip(command.offsets, read_from, strict=True)
        if (standing := standings.get(queue)) is not None
    ]
    if not all(standing.takes(command, offset, since) for standing, offset, since in wanted):
        return False
    for standing, offset, since in wanted:
        standing.commit(command, offset, since, is_part=is_part)
    return True


def checksum(member: str) -> int:
    """Return what a member's name is told apart by; never ``NOBODY``."""
    return crc32(member.encode()) or 1
