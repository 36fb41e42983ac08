"""What the clients of a run did and were told, and what happened to the cluster meanwhile.

A record is a row of columns: a run has a million of them. Its outcome begins as unknown, and only
a definite answer changes that: a time-out is no answer.
"""

from array import array
from enum import IntEnum
from typing import Final

import msgspec

PADDING: Final = 64


class Outcome(IntEnum):
    """What the owner of a record knows of it."""

    UNKNOWN = 0
    OK = 1
    FAILED = 2
    """It was told that it is not stored and never will be."""


class Anomaly(msgspec.Struct, frozen=True):
    """A promise that was seen broken, with what shows it."""

    check: str
    text: str
    evidence: tuple[str, ...] = ()


class Records:
    """All records of one topic that were ever sent, numbered in the order of their sending."""

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.lanes: Final = array("i")
        """Which producer and key: within one lane the order is kept."""
        self.outcomes: Final = array("b")
        self.queues: Final = array("i")
        self.offsets: Final = array("q")
        self.terms: Final = array("q")
        self.began: Final = array("d")
        self.ended: Final = array("d")

    def __len__(self) -> int:
        """Count them."""
        return len(self.lanes)

    def begin(self, lane: int, now: float) -> int:
        """Note that a record is sent now; return its number."""
        self.lanes.append(lane)
        self.outcomes.append(Outcome.UNKNOWN)
        self.queues.append(-1)
        self.offsets.append(-1)
        self.terms.append(0)
        self.began.append(now)
        self.ended.append(0.0)
        return len(self.lanes) - 1

    def ok(self, number: int, now: float, queue: int, offset: int, term: int) -> None:
        """Its owner has a receipt."""
        self.outcomes[number] = Outcome.OK
        self.queues[number] = queue
        self.offsets[number] = offset
        self.terms[number] = term
        self.ended[number] = now

    def failed(self, number: int, now: float) -> None:
        """Its owner was told: never."""
        self.outcomes[number] = Outcome.FAILED
        self.ended[number] = now

    def unknown(self, number: int, now: float) -> None:
        """Its owner gave up and knows nothing."""
        self.ended[number] = now

    def value(self, number: int) -> bytes:
        """Return the bytes of a record; no other has them."""
        return value_of(self.name, self.lanes[number], number)

    def number_of(self, value: bytes) -> int | None:
        """Return whose bytes these are, None if nobody has sent them."""
        try:
            number = int(value.split(b" ", 3)[2])
        except (IndexError, ValueError):
            return None
        return number if 0 <= number < len(self) and self.value(number) == value else None

    def count(self, outcome: Outcome) -> int:
        """Count the records that ended so."""
        return self.outcomes.count(outcome)


def value_of(name: str, lane: int, number: int) -> bytes:
    """Return the bytes of a record of the topic ``name``."""
    return b"%s %d %d " % (name.encode(), lane, number) + b"." * PADDING


class Event(msgspec.Struct):
    """One fault: when it was, what it hit, and what shows that it happened.

    Attributes:
        kind: The name of the fault.
        at: Seconds since the run began.
        until: When it was over, and everything well again as far as it concerns.
        target: Which nodes.
        happened: Whether there is proof that it was more than an intention.
        note: That proof, or why there is none.
        lost_term: If it took the leader away: the term that ended.
        kills: Whether connections were reset by it; else they fell silent.
        beside: Whether something else was wrong at the same time.
        leaderless_s: If it took the leader away: how long nobody was acknowledged after it.
    """

    kind: str
    at: float
    target: str = ""
    until: float = 0.0
    happened: bool = False
    note: str = ""
    lost_term: int = 0
    kills: bool = False
    beside: bool = False
    leaderless_s: float | None = None
