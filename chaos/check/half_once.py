"""A half message is stored once and visible once, at one offset, which every repeat tells."""

from typing import Final

from chaos.check.half_model import HalfKey, HalfMessage, Outcome, Standing
from chaos.check.violation import Violation

NAME: Final = "half_once"


def check_staged(key: HalfKey, half: HalfMessage | None, id_: int, *, duplicate: bool) -> None:
    """Check what a half message that came is told: it is new, or the one that is there.

    Raises:
        Violation: It is stored a second time, or told to be another.
    """
    if not duplicate:
        if half is not None:
            raise Violation(NAME, f"{key} is stored again; it was {half.standing.value}")
        return
    if half is None or half.batch is None:
        raise Violation(NAME, f"{key} is told to be there; it never came")
    if half.standing is not Standing.OPEN or half.batch.id != id_:
        raise Violation(NAME, f"{key} is told to be open as {id_}; it is {half}")


def check_commit(key: HalfKey, half: HalfMessage, outcome: Outcome, end: int, at: int) -> None:
    """Check where a commit puts a message: at the end of its queue, by this very entry.

    Raises:
        Violation: Elsewhere.
    """
    batch = half.batch
    if batch is None:
        raise Violation(NAME, f"{key} is committed and never came")
    there = (batch.queue, end, batch.count, at)
    told = (outcome.queue, outcome.base_offset, outcome.count, outcome.index)
    if told != there:
        raise Violation(NAME, f"{key} is committed and told to be at {told}; that is {there}")


def check_again(key: HalfKey, half: HalfMessage, told: Outcome) -> None:
    """Check that a decision that is repeated is told what the first one came to.

    Raises:
        Violation: It is told something else.
    """
    if half.outcome is not None and half.outcome != told:
        raise Violation(NAME, f"{key} is told to be {told} now; it was {half.outcome}")
