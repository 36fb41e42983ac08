"""A dead letter that is sent again is what was sent at first, and is stored once.

So every message ends in one place, also on the way through letters: what was handled is
handled, what is a letter is there once more, as long as its topic is, or waits to be sent.
"""

from collections.abc import Container, Sequence
from typing import Final, NamedTuple

from chaos.check.lease_model import Place
from chaos.check.violation import Violation

NAME: Final = "letters_resent"


class Content(NamedTuple):
    """What a record is to whoever handles it."""

    value: bytes | None
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int
    tag: str | None


class Origin(NamedTuple):
    """Where a message came from that became a letter, and how often it was leased."""

    group: str
    topic: str
    queue: int
    """Its place in the topic."""
    offset: int
    attempts: int


def check_content(place: Place, what: str, sent: Content, found: Content) -> None:
    """Check that a letter, or what is sent again, is the message that it was.

    Raises:
        Violation: Something of it is lost, or something came to it.
    """
    if sent != found:
        raise Violation(NAME, f"{what} of {place} is {found}; it was {sent}")


def check_origin(place: Place, origin: Origin, told: Origin) -> None:
    """Check that a letter tells where its message came from.

    Raises:
        Violation: It tells something else.
    """
    if origin != told:
        raise Violation(NAME, f"the letter of {place} tells {told}; it was {origin}")


def check_copy(
    letter: Place,
    wanted: str,
    copy: tuple[Place, str],
    earlier: Sequence[Place],
    deleted: Container[int],
) -> None:
    """Check a copy of a letter, with its topic: it is where it is to be, and the only one.

    Args:
        letter: Which letter.
        wanted: The topic that it is to be sent to.
        copy: Where it was stored now, and the topic of that queue.
        earlier: Where it was stored before.
        deleted: Queues that are gone.

    Raises:
        Violation: It is in another topic, or there twice.
    """
    place, topic = copy
    if topic != wanted:
        raise Violation(NAME, f"letter {letter} is sent to {topic!r}, not to {wanted!r}")
    there = [each for each in earlier if each[0] not in deleted]
    if there:
        raise Violation(NAME, f"letter {letter} is stored at {place}, and was at {there[0]}")


def check_mark(letter: Place, marks: Sequence[bytes]) -> None:
    """Check that a copy says, once, which letter it is of.

    Raises:
        Violation: It says another one, or several.
    """
    if list(marks) != [b"%d" % letter[1]]:
        raise Violation(NAME, f"what is sent again of {letter} says that it is of {marks}")


def check_finished(letter: Place, copies: Sequence[Place]) -> None:
    """Check that a letter that counts as sent again was stored.

    Raises:
        Violation: It never was: it is lost.
    """
    if not copies:
        raise Violation(NAME, f"letter {letter} is marked as sent again, and never was stored")
