"""With order by key a message is leased when all of its key that come before it are ended."""

from collections.abc import Iterable
from typing import Final

from chaos.check.lease_model import LeasedGroup, Place
from chaos.check.violation import Violation

NAME: Final = "key_order"


def check_order(group: LeasedGroup, place: Place, earlier: Iterable[int], expiry_ms: int) -> None:
    """Check that a message may be leased; ``earlier``: offsets of its key before it.

    Raises:
        Violation: One of these is not ended.
    """
    queue, offset = place
    if not group.fifo:
        return
    for before in earlier:
        if before < offset and not group.is_done((queue, before), expiry_ms):
            raise Violation(
                NAME,
                f"{place} is leased; {before} of its key is {group.messages.get((queue, before))}",
            )
