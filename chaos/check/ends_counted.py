"""What a group counts is what became of its messages: each of them ended in exactly one way.

A group counts what it skipped, what became dead letters, and what retention took before it was
finished; of what was acknowledged it knows nothing any more. So the model counts that, and all
of them together are what the group has passed::

    begun at 3, cursor at 20:  17 = 9 acked + 1 letter + 2 skipped + 3 expired + 2 in flight

What a seek takes back is passed once more, and ends once more.
"""

from typing import Final, NamedTuple

from chaos.check.lease_model import LeasedGroup, Poison, Standing
from chaos.check.violation import Violation

NAME: Final = "ends_counted"


class Ends(NamedTuple):
    """How many messages of a group ended how, as the log says."""

    acked: int = 0
    letters: int = 0
    skipped: int = 0
    unsure: int = 0
    """Of these nobody can tell: perhaps skipped, perhaps acknowledged, perhaps expired."""


class Counts(NamedTuple):
    """What a group says of itself."""

    letters: int
    skipped: int
    expired: int
    in_flight: int = 0


def ends_of(group: LeasedGroup, expiry_ms: int) -> Ends:
    """Count how the messages of a group ended; leases that were to end until then have."""
    past = group.past
    acked, letters, skipped, unsure = past.acked, past.letters, past.skipped, past.unsure
    for message in group.messages.values():
        standing = message.standing
        if message.unsure:
            unsure += 1
        elif standing is Standing.ACKED:
            acked += 1
        elif standing is Standing.LETTER:
            letters += 1
        elif standing is Standing.SKIPPED or (
            group.poison is Poison.SKIP and group.may_be_used_up(message, expiry_ms)
        ):
            skipped += 1
    return Ends(acked, letters, skipped, unsure)


def check_told(who: str, group: str, counts: Counts, before: Ends, now: Ends) -> None:
    """Check what somebody is told a group has counted.

    Args:
        who: Who tells.
        group: Which group.
        counts: What it has counted.
        before: What was so when the question began.
        now: What is so.

    Raises:
        Violation: It has counted less than there was, or more than there is.
    """
    if not before.skipped <= counts.skipped <= now.skipped + now.unsure:
        raise Violation(
            NAME,
            f"{who} says that {group} has skipped {counts.skipped}; it was {before}, is {now}",
        )
    if not before.letters <= counts.letters <= now.letters + now.unsure:
        raise Violation(
            NAME,
            f"{who} says that {group} has {counts.letters} letters; it was {before}, is {now}",
        )


def check_sum(who: str, group: str, passed: int, counts: Counts, ends: Ends) -> None:
    """Check that so many messages as a group has passed ended, or are in flight.

    Raises:
        Violation: Some are lost, or have ended in two ways.
    """
    known = ends.acked + sum(counts)
    if not known <= passed <= known + ends.unsure:
        raise Violation(
            NAME, f"{who}: {group} has passed {passed} messages; {ends.acked} were acked, {counts}"
        )
