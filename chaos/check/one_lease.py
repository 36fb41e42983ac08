"""A message is with one consumer at a time, from when it may be until its lease ends.

Whoever is told that a lease is not its own any more has lost it: by its time, which no leader
lets come right after another one, or by giving it back. And nobody else settles it.
"""

from typing import Final

from chaos.check.lease_model import LeasedGroup, Place, Standing
from chaos.check.violation import Violation

NAME: Final = "one_lease"


def check_lease(
    group: LeasedGroup, place: Place, handle: int, *, is_there: bool, now_ms: int, expiry_ms: int
) -> None:
    """Check that a message may be leased anew under ``handle`` now.

    Raises:
        Violation: Somebody has it, it waits, it is forgotten, or nobody may read it.
    """
    if not is_there:
        raise Violation(NAME, f"{place} is leased to {handle}; it is forgotten, or can't be read")
    message = group.messages.get(place)
    if message is None:
        return
    match message.standing:
        case Standing.LEASED:
            if not group.may_have_ended(message, expiry_ms):
                raise Violation(
                    NAME, f"{place} is leased to {handle} at {now_ms} beside {message}"
                )
        case Standing.WAITING:
            if message.due_ms > now_ms:
                raise Violation(NAME, f"{place} is leased at {now_ms} and is {message}")
        case Standing.DEAD | Standing.BLOCKED:
            raise Violation(NAME, f"{place} is leased and is {message}")
        case Standing.ACKED | Standing.LETTER | Standing.SKIPPED:
            pass  # whether one that is done may come again, its cursor tells


def check_settled(
    group: LeasedGroup, place: Place, handle: int, what: str, *, again: bool, expiry_ms: int
) -> None:
    """Check that who settles a message has it, or that it is ended already.

    ``again``: or he said so before, and nobody else has said so since.

    Raises:
        Violation: It is not his.
    """
    message = group.messages.get(place)
    if message is None:
        raise Violation(NAME, f"{place} is {what} by {handle} and was never leased")
    is_his = message.handle == handle and message.standing is Standing.LEASED
    is_known = again and message.given_back_by == handle
    if not is_his and not is_known and not group.is_done(place, expiry_ms):
        raise Violation(NAME, f"{place} is {what} by {handle} and is {message}")


def check_stale(
    group: LeasedGroup,
    place: Place,
    handle: int,
    *,
    is_there: bool,
    expiry_ms: int,
    is_ack: bool = False,
) -> None:
    """Check that who is told that a lease is not his has lost it.

    ``is_ack``: and has not finished it himself, and asks again since the answer was lost.

    Raises:
        Violation: It is his.
    """
    message = group.messages.get(place)
    if message is None or not is_there or message.handle != handle:
        return
    has = message.standing is Standing.LEASED and not group.may_have_ended(message, expiry_ms)
    if has or (is_ack and message.standing is Standing.ACKED):
        raise Violation(NAME, f"{handle} is told to have lost {place}, which is {message}")


def check_again(handle: int, held: set[Place], got: set[Place]) -> None:
    """Check that who asks again under a handle, having lost the answer, gets what he has.

    Raises:
        Violation: He gets more, or less.
    """
    if held and held != got:
        raise Violation(NAME, f"{handle} asks again, has {sorted(held)} and gets {sorted(got)}")
