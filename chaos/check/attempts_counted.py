"""Attempts are counted from one to the group's number of them, without a gap and not beyond."""

from typing import Final

from chaos.check.lease_model import LeasedGroup, Place
from chaos.check.violation import Violation

NAME: Final = "attempts_counted"


def check_attempts(group: LeasedGroup, place: Place, attempts: int) -> None:
    """Check which attempt a lease says that it is.

    Raises:
        Violation: It is another one, or one too many.
    """
    message = group.messages.get(place)
    before = 0 if message is None else message.attempts
    if attempts != before + 1:
        raise Violation(NAME, f"{place} is leased for the {attempts}. time, after {message}")
    if attempts > group.attempts_max:
        raise Violation(
            NAME, f"{place} is leased for the {attempts}. time of {group.attempts_max}"
        )


def check_used_up(group: LeasedGroup, place: Place, expiry_ms: int) -> None:
    """Check that a message becomes a dead letter, or is decided about, only when it may.

    Raises:
        Violation: Its attempts are not used up.
    """
    message = group.messages.get(place)
    if message is not None and not group.may_be_used_up(message, expiry_ms):
        raise Violation(NAME, f"the attempts of {place} are not used up: {message}")
