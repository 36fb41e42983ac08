"""Where a command lies in the log, and the number that it is known by from then on."""

from typing import Final

import msgspec

from raftlog.base.errors import Throttled
from raftlog.base.ids import Index, Term

POSITION_BITS: Final = 16
"""Commands of one entry are told apart by so many bits of what is numbered by its place."""


class CommandPlace(msgspec.Struct, frozen=True, gc=False):
    """Where a command lies in the log."""

    index: Index
    term: Term
    number: int
    """Which of the entry's commands it is, from 0."""
    position: int
    """Of its first byte, in the entry's body."""

    @property
    def id(self) -> int:
        """A number that nothing else in the shard ever has; never 0.

        Raises:
            Throttled: Too many commands in one entry.
        """
        if self.number >= 1 << POSITION_BITS:
            raise Throttled(f"{self.number} commands in one entry")
        return self.index << POSITION_BITS | self.number


def index_of(number: int) -> Index:
    """Return the index of the entry that gave this number away."""
    return Index(number >> POSITION_BITS)
