"""Go-back-N: an exact copy through a log that has no idempotent producer yet.

The sender numbers its batches and has several in flight. When one fails or its
outcome is unknown, everything from the first batch that is not settled is sent
again, in order, in a new round. The log may then hold a batch twice, or a later
batch before an earlier one::

    log      1 2 4 | 3 4 5        3 was refused, 4 was not: back to 3
    reader   1 2 . | 3 4 5        4 is not the next one expected: dropped

The reader takes a batch only if it is the next one. Then it misses none:
batch k is settled only by an acknowledgement at an offset behind that of batch
k - 1, so when the reader comes to it, it has taken k already or expects it.
"""

import msgspec


class Ticket(msgspec.Struct, frozen=True):
    """One sending of one batch."""

    round: int
    number: int


class SendWindow:
    """Which batch is sent next, and which are settled. Batches count from 0."""

    def __init__(self, in_flight_max: int) -> None:
        self.settled = 0
        self.round = 0
        self.sent_again = 0
        self._in_flight_max = in_flight_max
        self._next = 0
        self._furthest = 0
        self._last_offset = -1
        self._acked: dict[int, int] = {}

    def take(self, total: int) -> Ticket | None:
        """Return what to send now, out of ``total`` batches, or None."""
        if self._next >= min(total, self.settled + self._in_flight_max):
            return None
        number = self._next
        self._next += 1
        self.sent_again += number < self._furthest
        self._furthest = max(self._furthest, self._next)
        return Ticket(self.round, number)

    def acked(self, ticket: Ticket, base_offset: int) -> None:
        """The batch is in the log at ``base_offset``."""
        if ticket.round != self.round:
            return  # was sent again since; only the later copy is known to be in order
        self._acked[ticket.number] = base_offset
        while (offset := self._acked.pop(self.settled, None)) is not None:
            if offset <= self._last_offset:
                self._go_back()
                return
            self._last_offset = offset
            self.settled += 1

    def failed(self, ticket: Ticket) -> None:
        """The batch was refused, or nobody knows."""
        if ticket.round == self.round:
            self._go_back()

    def _go_back(self) -> None:
        self.round += 1
        self._acked.clear()
        self._next = self.settled


class NextOnly:
    """The reader's side: which batch is the next one; everything else is dropped and counted."""

    def __init__(self) -> None:
        self.expected = 0
        self.dropped_batches = 0
        self.dropped_records = 0

    def accepts(self, base_sequence: int, count: int) -> bool:
        """Whether the batch is the next one; the caller then takes its records."""
        if base_sequence != self.expected:
            self.dropped_batches += 1
            self.dropped_records += count
            return False
        self.expected += count
        return True
