"""Half messages as the committed log has them: what every invariant of theirs looks at."""

from enum import Enum

import msgspec

from chaos.check.delayed_delivery import Pending

HalfKey = tuple[int, int]
"""Transactor and number."""


class Standing(Enum):
    """What became of a half message."""

    OPEN = "open"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    LOST = "lost with its queue"


class Outcome(msgspec.Struct, frozen=True):
    """What a decision is told to have come to, with all that it names."""

    standing: Standing
    queue: int
    base_offset: int
    count: int
    term: int
    index: int


class HalfMessage(msgspec.Struct):
    """A number of a transactor that was used: for a message, or to roll back what never came."""

    batch: Pending | None
    """None: nothing was ever stored."""
    next_ms: int = 0
    """When it is checked next; after the last check: when it is parked."""
    checks: int = 0
    """How many were answered with "unknown"."""
    standing: Standing = Standing.OPEN
    outcome: Outcome | None = None
    """Of its decision, unless it was lost."""
    decided_ms: int = 0

    def is_parked(self, now_ms: int, checks_max: int) -> bool:
        """Whether nobody is asked about it any more."""
        return (
            self.standing is Standing.OPEN and self.checks >= checks_max and self.next_ms <= now_ms
        )


class Owner(msgspec.Struct):
    """A transactor: who may stage and decide at the moment."""

    name: str
    group: str
    epoch: int
    highest: int = 0
    """The highest number that was ever used."""
