"""A decision never changes: whoever decides again in another way is told so."""

from typing import Final

from chaos.check.half_model import HalfKey, HalfMessage, Standing
from chaos.check.violation import Violation

NAME: Final = "half_decided"


def check_verdict(key: HalfKey, half: HalfMessage | None, told: Standing) -> None:
    """Check what a decision is told to have come to, now or before.

    Raises:
        Violation: It was another one, or there was nothing to commit.
    """
    if half is None:
        if told is not Standing.ROLLED_BACK:
            raise Violation(NAME, f"{key} is told to be {told.value}; it never came")
        return
    if half.standing not in (Standing.OPEN, told):
        raise Violation(
            NAME, f"{key} is told to be {told.value}; it was {half.standing.value} before"
        )


def check_told_decided(
    key: HalfKey, half: HalfMessage | None, wanted: Standing | None, *, may_be_lost: bool
) -> None:
    """Check that who is told "it was decided in another way" is told the truth.

    Args:
        key: Of which.
        half: The half message, or None.
        wanted: What it wanted to decide; None: it wanted to store, or to answer "unknown".
        may_be_lost: Whether its queue is gone.

    Raises:
        Violation: It was not decided, or just so.
    """
    if half is None:
        raise Violation(NAME, f"{key} is told to be decided; it never came")
    if half.standing is Standing.OPEN and may_be_lost:
        return
    if half.standing is Standing.OPEN or half.standing is wanted:
        raise Violation(
            NAME, f"{key} is told to be decided in another way; it is {half.standing.value}"
        )


def check_forgotten(key: HalfKey, half: HalfMessage | None, now_ms: int, known_ms: int) -> None:
    """Check that what is told to be forgotten was decided, and so long ago.

    Raises:
        Violation: It was not decided, or is to be known still.
    """
    if half is None or half.standing is Standing.OPEN:
        raise Violation(NAME, f"{key} is told to be forgotten; it is {half}")
    if half.standing is not Standing.LOST and now_ms - half.decided_ms < known_ms:
        raise Violation(
            NAME, f"{key}, decided at {half.decided_ms}, is told to be forgotten at {now_ms}"
        )
