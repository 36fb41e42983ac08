"""A message ends in one place: acknowledged, a dead letter, or passed over; or it is not ended.

What is ended is never leased again, and nothing becomes two letters. In the end a group that
works has ended all that was sent and not forgotten by retention.
"""

from collections.abc import Iterable
from typing import Final

from chaos.check.lease_model import ENDS, LeasedGroup, Place, Standing
from chaos.check.violation import Violation

NAME: Final = "one_place"


def check_not_ended(group: LeasedGroup, place: Place, what: str) -> None:
    """Check that a message is not ended before it is leased, or becomes a letter.

    Raises:
        Violation: It is.
    """
    message = group.messages.get(place)
    if message is not None and message.standing in ENDS:
        raise Violation(NAME, f"{place} is {what} after it was {message.standing.value}")
    if message is None and group.is_jumped(place):
        raise Violation(NAME, f"{place} is {what} after a seek went over it")


def check_in_flight(group: LeasedGroup, place: Place, what: str) -> None:
    """Check that a message was leased, and that no seek took it back since.

    Raises:
        Violation: It is not in flight.
    """
    if place not in group.messages:
        raise Violation(NAME, f"{place} is {what} and is not in flight")


def check_letter(place: Place, sent: bytes | None, letter: bytes | None) -> None:
    """Check that a letter has what was sent.

    Raises:
        Violation: It has something else.
    """
    if sent != letter:
        raise Violation(NAME, f"the letter of {place} has {letter!r}, not {sent!r}")


def check_acked(group: LeasedGroup, place: Place, *, is_there: bool, expiry_ms: int) -> None:
    """Check that what somebody was told to be done with is.

    Raises:
        Violation: It is not, and may be leased again.
    """
    if is_there and not group.is_done(place, expiry_ms):
        raise Violation(NAME, f"{place} is acked and is {group.messages.get(place)}")


def check_given(place: Place, told: int | None, asked: int) -> None:
    """Check that a message that somebody is given was not known to be finished when he asked.

    ``told``: the how-manieth it is of those of which that was told; ``asked``: how many there
    were when he asked.

    Raises:
        Violation: It was.
    """
    if told is not None and told < asked:
        raise Violation(NAME, f"{place} is given to somebody who asked after it was finished")


def undone(group: LeasedGroup, places: Iterable[Place], expiry_ms: int) -> list[Place]:
    """Return what is not ended."""
    return [place for place in places if not group.is_done(place, expiry_ms)]


def check_rows(node: str, rows: set[Place], group: LeasedGroup) -> None:
    """Check that a replica has nothing in flight that is ended.

    Raises:
        Violation: It has: it would lease it again.
    """
    for place in sorted(rows):
        message = group.messages.get(place)
        if message is not None and message.standing in ENDS:
            raise Violation(NAME, f"{node} has {place} in flight, which is {message}")


def check_counts(node: str, name: str, letters: int, group: LeasedGroup) -> None:
    """Check that a replica has counted the letters that there are.

    Raises:
        Violation: It has counted others.
    """
    messages = group.messages.values()
    stored = group.past.letters
    stored += sum(message.standing is Standing.LETTER for message in messages)
    if letters != stored:
        raise Violation(NAME, f"{node} has {letters} dead letters of {name}; there are {stored}")
