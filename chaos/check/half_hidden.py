"""A half message is visible to nobody before its commit, and never after a rollback."""

from collections.abc import Container
from typing import Final

from chaos.check.half_model import HalfKey, HalfMessage, Standing
from chaos.check.violation import Violation

NAME: Final = "half_hidden"


def check_seen(key: HalfKey, half: HalfMessage, where: str) -> None:
    """Check a half message that somebody has read.

    Raises:
        Violation: It was not committed.
    """
    if half.standing is not Standing.COMMITTED:
        raise Violation(NAME, f"{key} is read at {where}; it is {half.standing.value}")


def check_still_hidden(
    node: str, key: HalfKey, half: HalfMessage, hidden: Container[tuple[int, int]]
) -> None:
    """Check that a replica that is as far as the log hides what is open, and nothing else.

    Raises:
        Violation: It does not.
    """
    assert half.batch is not None, f"{key} never came"
    is_hidden = (half.batch.queue, half.batch.id) in hidden
    if is_hidden and half.standing is not Standing.OPEN:
        raise Violation(NAME, f"{node} still hides {key}, which is {half.standing.value}")
    if not is_hidden and half.standing is Standing.OPEN:
        raise Violation(NAME, f"{node} hides {key} no more; it is open")
