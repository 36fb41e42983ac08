"""Walks through a shard's log: one bounded question after the other, with progress.

A node looks through a stretch for each question, says how far it came, and what the next one is
to bring along. The log begins behind what retention has trimmed: what lies before is passed over,
and the progress says how much that was.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol, TypeVar

import msgspec
from google.protobuf.message import Message as WireMessage

from raftlog.base.errors import ProtocolError
from raftlog.client.asking import Asker
from raftlog.client.durations import moment_of
from raftlog.client.stepping import Stepping
from raftlog.wire.frame import Method

T = TypeVar("T")
POSITION_BITS: Final = 16
"""A position is an entry's index and, in so many bits, which of its commands."""


class WalkAnswer(Protocol):
    """What every question about the log is answered with, beside what was found."""

    began: int
    next: int
    end: int
    carry: bytes
    now_ms: int


A = TypeVar("A", bound=WireMessage)


class WalkProgress(msgspec.Struct, frozen=True):
    """How far a walk through the log is.

    Attributes:
        looked_at: Log entries that were looked at.
        total: Log entries that are to be looked at, as far as that is known: 0 before the first
            answer.
        found: What was found.
        first: The first entry that was looked at: what came before it, the log has no more, or it
            was not asked for; 0 before the first answer.
        skipped: Entries that retention took away while this went on.
        asked: The log time of the last answer; None before the first one.
    """

    looked_at: int
    total: int
    found: int
    first: int
    skipped: int
    asked: datetime | None


class WalkBounds(msgspec.Struct, frozen=True):
    """Where a walk begins, and when it ends."""

    position: int
    limit: int | None
    timeout_s: float
    """For one question."""
    end: int | None = None
    """A position; None: where the log ends when the walk begins."""


class LogWalk(Stepping[T]):
    """An iterator over what is found in the log, oldest first."""

    def __init__(self, asker: Asker, bounds: WalkBounds) -> None:
        super().__init__()
        self._asker: Final = asker
        self._bounds: Final = bounds
        self._position = bounds.position
        self._carry = b""
        self._end: int | None = None
        """None: nothing was asked yet."""
        self._count = self._first = self._skipped = 0
        self._asked: datetime | None = None

    @property
    def progress(self) -> WalkProgress:
        """How far it is."""
        if self._end is None:
            return WalkProgress(0, 0, 0, 0, 0, None)
        last = self._end >> POSITION_BITS
        total = max(0, last - self._first)
        at = min(self._position, self._end) >> POSITION_BITS
        looked_at = max(0, at - self._first - self._skipped)
        return WalkProgress(
            *(looked_at, total, self._count, self._first, self._skipped, self._asked)
        )

    # -- inside

    async def _question(self, position: int, carry: bytes) -> tuple[WalkAnswer, Sequence[T]]:
        """Ask for a stretch, and read the answer."""
        raise NotImplementedError

    async def _ask(self, method: Method, message: WireMessage, answer: type[A]) -> A:
        found, _ = await self._asker.ask(method, message, answer, timeout_s=self._bounds.timeout_s)
        return found

    async def _advance(self) -> bool:
        """Ask one question, unless all was looked at, or enough was found."""
        limit = self._bounds.limit
        if self._end is not None and self._position >= self._end:
            return False
        if limit is not None and self._count >= limit:
            return False
        answer, found = await self._question(self._position, self._carry)
        if self._end is None:
            until = self._bounds.end
            self._end = answer.end if until is None else min(until, answer.end)
            self._first = answer.began >> POSITION_BITS
        else:
            self._skipped += (answer.began >> POSITION_BITS) - (self._position >> POSITION_BITS)
        if answer.next <= self._position < self._end:
            raise ProtocolError(f"nothing of the log was looked at from {self._position} on")
        if limit is not None:
            found = found[: limit - self._count]
        self._found.extend(found)
        self._count += len(found)
        self._position, self._carry = max(answer.next, self._position), bytes(answer.carry)
        self._asked = moment_of(answer.now_ms)
        return True
