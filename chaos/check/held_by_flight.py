"""Retention does not take what is in flight (ruling 7).

That is what is leased, waits to be tried again, is dead, or is blocked; for as long as somebody
may be expected to ask for it.
"""

from typing import Final

from chaos.check.lease_model import ENDS, LeasedGroup, Poison, Standing
from chaos.check.violation import Violation

NAME: Final = "held_by_flight"


def check_kept(
    group: LeasedGroup, queue: int, start: int, *, kept_ms: int, now_ms: int, expiry_ms: int
) -> None:
    """Check that a queue may begin at ``start``; ``kept_ms``: what waits is needed for so long.

    Raises:
        Violation: A message before that is needed still.
    """
    for (of, offset), message in group.messages.items():
        if of != queue or offset >= start or message.standing in ENDS:
            continue
        if message.standing in (Standing.DEAD, Standing.BLOCKED):
            is_needed = True  # for 30 days: longer than any run
        elif group.may_be_used_up(message, expiry_ms):
            is_needed = group.poison is not Poison.SKIP
        elif message.standing is Standing.LEASED and message.due_ms > expiry_ms:
            is_needed = True
        else:
            is_needed = now_ms < message.due_ms + kept_ms
        if is_needed:
            raise Violation(NAME, f"queue {queue} begins at {start}; {offset} is {message}")
