"""Checks are counted for real answers only: one each, whoever says it and however often."""

from typing import Final

from chaos.check.half_model import HalfKey, HalfMessage, Standing
from chaos.check.violation import Violation

NAME: Final = "half_checks"


def count_after(half: HalfMessage, check: int, checks_max: int) -> int:
    """Return how many checks are counted after an answer to check ``check``."""
    is_next = check == half.checks + 1 and half.checks < checks_max
    return half.checks + is_next


def check_counted(key: HalfKey, half: HalfMessage | None, check: int, told: int, most: int) -> int:
    """Check the count that an answer of "unknown" is told; return what it is now.

    Raises:
        Violation: It is another one, or the message is decided.
    """
    if half is None or half.standing is not Standing.OPEN:
        raise Violation(NAME, f"an answer to check {check} of {key} counts; it is {half}")
    expected = count_after(half, check, most)
    if told != expected or check > half.checks + 1:
        raise Violation(
            NAME,
            f"{key} is told to be checked {told} times after an answer to check {check}; "
            f"{half.checks} were counted before",
        )
    return expected


def check_asked(
    key: HalfKey, half: HalfMessage | None, check: int, data: bytes, most: int
) -> None:
    """Check what a member is asked: about a message that came, and with its bytes.

    Raises:
        Violation: It is asked about something else, or once too often.
    """
    if half is None or half.batch is None:
        raise Violation(NAME, f"a member is asked about {key}, which never came")
    if half.batch.data != data:
        raise Violation(NAME, f"a member is asked about {key} with other bytes")
    if not 0 < check <= min(half.checks + 1, most):
        raise Violation(NAME, f"check {check} of {key} is asked for; {half.checks} were answered")
