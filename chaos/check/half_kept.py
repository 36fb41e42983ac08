"""None is silently dropped: a half message is open, parked after its last check, or decided."""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from chaos.check.half_model import HalfKey, HalfMessage, Outcome
from chaos.check.violation import Violation

NAME: Final = "half_kept"


class OpenHalf(NamedTuple):
    """One that is open, as a replica has it."""

    queue: int
    id: int
    checks: int
    next_ms: int
    parked: bool


def expected_row(half: HalfMessage, now_ms: int, checks_max: int) -> OpenHalf:
    """Return what a replica has of one that is open."""
    assert half.batch is not None, f"{half} is open and never came"
    return OpenHalf(
        *(half.batch.queue, half.batch.id, half.checks, half.next_ms),
        half.is_parked(now_ms, checks_max),
    )


def check_open(
    node: str, rows: Mapping[HalfKey, OpenHalf], expected: Mapping[HalfKey, OpenHalf]
) -> None:
    """Check what a replica that is as far as the log has open.

    Raises:
        Violation: It has others, or something else of one.
    """
    for key in sorted(rows.keys() | expected.keys()):
        if rows.get(key) != expected.get(key):
            raise Violation(
                NAME, f"{node} has {rows.get(key)} of {key}; it is {expected.get(key)}"
            )


def check_known(node: str, key: HalfKey, row: Outcome | None, half: HalfMessage) -> None:
    """Check what a replica remembers of a decision that is to be known.

    Raises:
        Violation: It remembers nothing, or something else.
    """
    if row != half.outcome:
        raise Violation(NAME, f"{node} remembers {row} of {key}; it is {half.outcome}")


def check_listed(listed: Collection[HalfKey], wanted: Collection[HalfKey]) -> None:
    """Check that a list of what is open has all that was open as long as it was made.

    Raises:
        Violation: One is missing.
    """
    missing = sorted(set(wanted) - set(listed))
    if missing:
        raise Violation(NAME, f"{missing} are open, and in no list")
