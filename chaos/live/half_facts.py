"""What the process of an owner of half messages tells the run: one line of JSON for each fact.

Every fact is answered with a number, and its teller waits for that before it goes on. So what it
does next is never ahead of what the run knows: a half message is sent when it has its number, and
a decision is told to the cluster when it is written in the table of the run. What was told before
a SIGKILL is in the pipe and is read to its end; whatever else was under way is unknown.
"""

from typing import Final

import msgspec

STOP: Final = "stop"
"""Said instead of an answer: nothing new is sent from now on."""
NOBODYS: Final = -1
"""The number of a record that nobody has sent."""


class HalfPlan(msgspec.Struct, frozen=True):
    """What a process is to do.

    Attributes:
        owner: The name under which it sends; the process before it had the same.
        group: Whose checks it answers.
        topic: Where its messages go.
        seed: Of its own random choices.
        seeds: Where it reaches the cluster.
        timeout_s: How long a call is tried.
    """

    owner: str
    group: str
    topic: str
    seed: str
    seeds: tuple[str, ...]
    timeout_s: float


class Begun(msgspec.Struct, frozen=True, tag=True):
    """A half message is about to be sent. Answered with the number of its record."""

    lane: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Its owner was told that it is not stored."""

    number: int


class Decided(msgspec.Struct, frozen=True, tag=True):
    """What is to become of a message, unless that is written already.

    Answered with what is written: 1 for a commit, else 0.
    """

    number: int
    commit: bool


class Committed(msgspec.Struct, frozen=True, tag=True):
    """Its owner has a receipt."""

    number: int
    queue: int
    offset: int
    term: int


class Otherwise(msgspec.Struct, frozen=True, tag=True):
    """The cluster says that a message was decided the other way."""

    number: int
    text: str


class Asked(msgspec.Struct, frozen=True, tag=True):
    """The checker is asked about a message. Answered with its number, or ``NOBODYS``."""

    value: bytes


class Answered(msgspec.Struct, frozen=True, tag=True):
    """The checker has an answer, and is about to give it."""

    knows: bool


class Sent(msgspec.Struct, frozen=True, tag=True):
    """Nothing is under way that would be sent; checks are answered on."""


Fact = Begun | Failed | Decided | Committed | Otherwise | Asked | Answered | Sent
