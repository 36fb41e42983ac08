"""Producer identities of atomic transactions: each is one transaction's at a time.

The identity numbers the transaction's batches, queue by queue, and knows when it was first
sent: a queue forgets its producers, and what it does not know then was perhaps committed
(``client.ages``).
"""

from collections.abc import Sequence
from typing import Final

from raftlog.client.ages import Sent
from raftlog.client.atomic_packing import ToSend
from raftlog.client.packing import Columns
from raftlog.wire.batch import Producer


class Row:
    """How far an identity has come in one queue, and when its last batch was made."""

    __slots__ = ("epoch", "known", "next", "sent")

    def __init__(self) -> None:
        self.epoch = 0
        self.next = 0
        self.known = 0
        """Before this nothing is asked for again. What a commit will name must stay known."""
        self.sent: Sent | None = None

    def may_be_stored(self, next_sequence: int) -> bool:
        """Whether that batch may be stored although a fence has found ``next_sequence`` only."""
        return self.sent is not None and self.sent.may_be_stored(self.next, next_sequence)


class Identity:
    """A producer under which one transaction at a time is sent."""

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self.rows: dict[int, Row] = {}
        self.is_good = True
        """Whether its sequences are what the cluster believes them to be."""

    def row(self, queue: int) -> Row:
        """Return how far it has come in a queue."""
        return self.rows.setdefault(queue, Row())

    def begin(self, batches: Sequence[ToSend]) -> None:
        """A transaction begins: all before it is known."""
        for batch in batches:
            row = self.row(batch.queue)
            row.known = row.next

    def encode(self, queue: int, columns: Columns, codec: str) -> bytes:
        """Return a batch with the next sequences of its queue, which is sent now."""
        row = self.row(queue)
        row.sent = Sent.now(row.sent)
        producer = Producer(self.number, row.epoch, row.next, row.known)
        return columns.encode(producer=producer, codec=codec)

    def may_be_sent(self, batches: Sequence[ToSend]) -> bool:
        """Whether their queues know them for certain, if they are stored."""
        sent = [self.row(batch.queue).sent for batch in batches]
        return all(each is None or each.may_be_sent for each in sent)

    def advance(self, batches: Sequence[ToSend]) -> None:
        """They are stored."""
        for batch in batches:
            self.row(batch.queue).next += batch.count
