"""What queue-style groups have leased, as the committed log says: the model that checks share.

Told of commands in the order of the log. Two things happen without a command: a lease ends at
its time, and a message whose attempts are used up then is passed over, dead or blocked. An
entry does only so much of that, so here a lease whose time has come *may* have ended.
"""

from collections.abc import Callable
from enum import Enum

import msgspec

Place = tuple[int, int]
"""Queue and offset."""


class Poison(Enum):
    """What becomes of a message whose attempts are used up."""

    LETTER = 0
    SKIP = 1
    BLOCK = 2


class Standing(Enum):
    """Where a message is that was leased once."""

    LEASED = "leased"
    WAITING = "waiting"
    DEAD = "dead"
    BLOCKED = "blocked"
    ACKED = "acked"
    LETTER = "a dead letter"
    SKIPPED = "skipped"


ENDS = frozenset({Standing.ACKED, Standing.LETTER, Standing.SKIPPED})
USED_UP = {
    Poison.LETTER: Standing.DEAD,
    Poison.SKIP: Standing.SKIPPED,
    Poison.BLOCK: Standing.BLOCKED,
}


class LeasedMessage(msgspec.Struct):
    """A message that was leased once."""

    standing: Standing
    handle: int
    """Who has it, or had it last."""
    attempts: int
    due_ms: int
    """When its lease ends, or its wait."""
    given_back_by: int = 0
    """Who has given it back last."""
    verdict: int = -1
    """What somebody decided when it was blocked, until it is leased again."""
    unsure: bool = False
    """Whether it can't be told how it ended."""


class Past(msgspec.Struct):
    """What came of messages that a seek took back: they are leased once more, from the first."""

    seeks: int = 0
    acked: int = 0
    letters: int = 0
    skipped: int = 0
    unsure: int = 0
    dropped: int = 0
    """That were in flight, and came to no end."""
    back: int = 0
    """By how much cursors went back, or forth if it is below 0."""
    jumped: dict[int, list[tuple[int, int]]] = {}
    """By queue: from where to where a seek went over what was never leased."""


def _anything(_place: Place) -> bool:
    return True


class LeasedGroup(msgspec.Struct):
    """A group: what holds for it, and its messages."""

    number: int
    attempts_max: int
    retry_ms: tuple[int, ...]
    poison: Poison
    fifo: bool
    topics: tuple[str, ...]
    lease_ms: int = 30_000
    messages: dict[Place, LeasedMessage] = {}
    begun: dict[int, int] = {}
    """For each queue of its topics where the group began."""
    past: Past = msgspec.field(default_factory=Past)
    wants: Callable[[Place], bool] = _anything
    """Whether the group wants a message, and always has; else it may have been passed over."""

    def begins(self, queue: int, start: int) -> None:
        """Take in that a queue is one of its topics', and begins there now."""
        self.begun.setdefault(queue, start)

    def sought(self, queue: int, before: int, offset: int, expiry_ms: int) -> int:
        """Go on there, instead of at ``before``: forget what lies from there on.

        Returns how many of these had ended.
        """
        past, ended = self.past, 0
        past.back += before - offset
        jumped = [(begin, min(end, offset)) for begin, end in past.jumped.get(queue, ())]
        past.jumped[queue] = [each for each in (*jumped, (before, offset)) if each[0] < each[1]]
        for place in [at for at in self.messages if at[0] == queue and at[1] >= offset]:
            message = self.messages.pop(place)
            ended += message.standing in ENDS
            if message.unsure or (
                self.poison is Poison.SKIP and self.may_be_used_up(message, expiry_ms)
            ):
                past.unsure += 1
                continue
            past.acked += message.standing is Standing.ACKED
            past.letters += message.standing is Standing.LETTER
            past.skipped += message.standing is Standing.SKIPPED
        return ended

    def is_jumped(self, place: Place) -> bool:
        """Whether a seek went over a message that was never leased since."""
        queue, offset = place
        return any(begin <= offset < end for begin, end in self.past.jumped.get(queue, ()))

    def may_have_ended(self, message: LeasedMessage, expiry_ms: int) -> bool:
        """Whether a lease's time has come; ``expiry_ms``: until then leases ended."""
        return message.standing is Standing.LEASED and message.due_ms <= expiry_ms

    def may_be_used_up(self, message: LeasedMessage, expiry_ms: int) -> bool:
        """Whether its last attempt's time has come."""
        is_last = message.attempts >= self.attempts_max
        return is_last and self.may_have_ended(message, expiry_ms)

    def holds(self, expiry_ms: int) -> bool:
        """Whether something is leased for certain."""
        return any(
            message.standing is Standing.LEASED and message.due_ms > expiry_ms
            for message in self.messages.values()
        )

    def is_done(self, place: Place, expiry_ms: int) -> bool:
        """Whether a message is finished, in one way or another."""
        message = self.messages.get(place)
        if message is None:
            return not self.wants(place) or self.is_jumped(place)
        if message.standing in ENDS:
            return True
        return self.poison is Poison.SKIP and self.may_be_used_up(message, expiry_ms)
