"""Messages in flight that retention may not take yet (ruling 7).

::

    start ->  0 acked   1 leased   2 waits, tried   3 acked   4 never leased
                        ^ whatever retention says, the queue begins here

A queue's start stops at its oldest message that some group needs: one that is leased, one
that waits to be tried again, a dead letter that is not stored yet, one that is blocked. Its
body is read from its queue, at its offset, so the queue holds it; a delayed message has no
offset yet, and is copied instead. What that costs is bounded: whoever works settles a message in
a few lease terms, and

- what nobody asks for any more is as a message that became visible when its wait ended: it is
  needed for its topic's retention from then on, and then *expires*;
- what is dead or blocked is needed for as long as dead letters are kept.

So a group that was forgotten keeps what it had in flight for one more retention, and never more.
"""

from typing import Final

from raftlog.broker.flights import BLOCKED, DEAD, PARKED, Flight, Flights
from raftlog.broker.queue_groups import DEAD_LETTER_RETENTION_MS, QueueGroups
from raftlog.broker.topics import DEFAULT_RETENTION_MS, FOR_EVER


class Holding:
    """Tells how far the start of a queue may go."""

    def __init__(self, groups: QueueGroups, flights: Flights) -> None:
        self._groups: Final = groups
        self._flights: Final = flights

    def start_may_be(self, queue: int, start: int, retention_ms: int, now_ms: int) -> int:
        """Return ``start``, or the first message before it that is needed still.

        What it walks over is swept, once the start has passed it: nothing is looked at often.
        """
        for group in self._groups.readers(queue):
            for row in self._flights.of_queue(group, queue):
                if row.offset >= start:
                    break
                if _is_needed(row, retention_ms, now_ms):
                    start = row.offset
                    break
        return start


def _is_needed(row: Flight, retention_ms: int, now_ms: int) -> bool:
    if row.handle > 0:
        return True
    if row.handle == PARKED:
        return False  # never leased; what it waits for comes before it
    kept_ms = DEFAULT_RETENTION_MS if retention_ms == FOR_EVER else retention_ms
    if row.handle in (DEAD, BLOCKED):
        kept_ms = max(kept_ms, DEAD_LETTER_RETENTION_MS)
    return now_ms < row.due_ms + kept_ms
