"""What is held under a handle, of what somebody names; and what is not his any more.

A request is asked again when its answer was lost. What it did then it is told again:
what was finished under its handle is finished, what was given back under it is so. But
what somebody else has, or has finished, is *stale*: two have worked on it, and the late
one is told.

Where something is stored together with an acknowledgement (``broker.atomic``) that is not
enough: *by whom* a message was finished is known for a while only, and a late copy would store
what was made of it once more. There nothing counts but that it is held now; one that is asked
again is known by its batches.
"""

from enum import Enum
from typing import Final

from raftlog.base.errors import StaleLease
from raftlog.broker.finishers import Finishers
from raftlog.broker.flights import Flight, Flights, Key
from raftlog.broker.queue_groups import QueueGroup, QueueGroups


class Settlement(Enum):
    """What somebody wants with what he holds."""

    ACK = 1
    RETURN = 2
    EXTEND = 3
    ACK_ONCE = 4
    """Acknowledge what is held now; what is finished already is stale."""


class Held:
    """Looks for it."""

    def __init__(self, groups: QueueGroups, flights: Flights, finishers: Finishers) -> None:
        self._groups: Final = groups
        self._flights: Final = flights
        self._finishers: Final = finishers

    def find(
        self,
        group: QueueGroup,
        names: tuple[tuple[int, int, tuple[int, ...]], ...],
        wanted: Settlement,
    ) -> tuple[list[Flight], tuple[tuple[int, int, int], ...]]:
        """Return what is held under its handle, and what is stale: (queue, offset, handle).

        What was done already is in neither.

        Raises:
            StaleLease: All of it is stale.
        """
        number = group.number
        rows = self._flights.table.rows
        found: dict[Key, Flight] = {}
        stale: list[tuple[int, int, int]] = []
        for handle, queue, offsets in names:
            cursor = self._groups.cursors.get((number, queue))
            begun = 0 if cursor is None else cursor.next
            for offset in offsets:
                key = (number, queue, offset)
                row = rows.get(key)
                if row is None:
                    if offset >= begun or not self._was_done(key, handle, wanted):
                        stale.append((queue, offset, handle))
                elif row.handle == handle:
                    found[key] = row
                elif wanted is not Settlement.RETURN or row.given_back_by != handle:
                    stale.append((queue, offset, handle))
        if stale and not found and len(stale) == sum(len(offsets) for _, _, offsets in names):
            queue, offset, _ = stale[0]
            raise StaleLease(
                f"message {offset} of queue {queue} is not leased to you (any more) in group "
                f"{group.name!r}"
            )
        return list(found.values()), tuple(stale)

    def _was_done(self, key: Key, handle: int, wanted: Settlement) -> bool:
        """Whether a finished message may be so by this very request."""
        match wanted:
            case Settlement.ACK:
                return self._finishers.may_finish_again(key, handle)
            case Settlement.RETURN:
                return self._finishers.may_return_again(key, handle)
            case _:
                return False
