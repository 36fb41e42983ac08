"""Tickets: what ``OutcomeUnknown`` gives to ask with, later (ruling 10)."""

import asyncio

from raftlog.base.errors import OutcomeUnknown, RaftlogError
from raftlog.base.ids import Offset
from raftlog.client.later import DelayedReceipt
from raftlog.client.receipts import BatchReceipt, Receipt

WholeReceipt = BatchReceipt | DelayedReceipt
"""Of a batch that came as one."""


class Answer:
    """What became of one batch whose outcome was unknown. Told once, by a fence."""

    __slots__ = ("_future", "owner")

    def __init__(self, owner: object, loop: asyncio.AbstractEventLoop) -> None:
        self.owner = owner
        self._future: asyncio.Future[WholeReceipt] = loop.create_future()

    def tell(self, result: WholeReceipt | RaftlogError) -> None:
        """Tell whoever waits, now or later."""
        if self._future.done():
            return
        if isinstance(result, RaftlogError):
            self._future.set_exception(result)
            self._future.exception()  # read, or asyncio complains that nobody did
        else:
            self._future.set_result(result)

    async def wait(self) -> WholeReceipt:
        """Wait for it; cancelling forgets nothing."""
        return await asyncio.shield(self._future)


class Ticket:
    """For ``Producer.resolve``: names one send. Of use to the producer that gave it, alone."""

    __slots__ = ("_answer", "_place")

    def __init__(self, answer: Answer, place: int | None) -> None:
        self._answer = answer
        self._place = place

    def __repr__(self) -> str:
        """Show nothing of its insides."""
        return "<Ticket>"

    def is_of(self, owner: object) -> bool:
        """Whether ``owner`` gave it."""
        return self._answer.owner is owner

    async def result(self) -> Receipt | WholeReceipt:
        """Wait for what became of it: a receipt of the kind that the send would have had."""
        stored = await self._answer.wait()
        if self._place is None or isinstance(stored, DelayedReceipt):
            return stored
        return receipt_of(stored, self._place)


def receipt_of(batch: BatchReceipt, place: int) -> Receipt:
    """Return the receipt of the record at ``place`` in a batch."""
    return Receipt(
        batch.topic,
        batch.queue,
        Offset(batch.base_offset + place),
        batch.term,
        batch.index,
        batch.durability,
        batch.duplicate,
    )


def with_ticket(error: OutcomeUnknown, answer: Answer, place: int | None) -> OutcomeUnknown:
    """Return the error for one send of a batch."""
    return OutcomeUnknown(str(error), Ticket(answer, place))
