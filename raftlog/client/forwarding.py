"""The way to the cluster of what is written down before it is sent: one question each.

Whatever is asked here is harmless to ask again: an append carries its producer, epoch
and sequence, a fence its epoch, and a producer id that was drawn in vain costs nothing. But a
queue forgets its producers, and then takes a batch that it has for a new one. Whoever sends
it again must know how old it is, each time: all waiting here is in seconds, but those in which
the machine sleeps are not counted::

    append, batch ------> stored, the answer is lost; the line is down
    waits for a leader    the machine sleeps for a week; the queue forgets
    asks who gives the batch: too old       it is not sent again
"""

from collections.abc import Callable
from typing import Final, Protocol

from raftlog.base.entry import Buffer
from raftlog.base.errors import WrongMessageType
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog, Queues, TopicNeeds
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, producers

TRY_S: Final = 5.0
"""Of one call; the caller asks again."""
BatchGiver = Callable[[], Buffer]
"""Gives a batch that may be sent again now, or raises what its caller is to be told."""


class Forwarding(Protocol):
    """What is asked of a cluster. Each raises a ``RaftlogError`` as the cluster does."""

    async def queues(self, topic: str) -> Queues:
        """Return the numbers of a topic's queues."""

    def forget_queues(self, topic: str) -> None:
        """Ask again the next time."""

    def needs(self, topic: str) -> TopicNeeds:
        """Return what a record must have, as far as is known, to be sent to a topic."""

    async def draw_producer(self) -> int:
        """Return a producer id that nobody has."""

    async def fence(self, queue: int, producer: int, epoch: int) -> producers.ProducerFenced:
        """Begin an epoch; return what the epoch before it has stored."""

    async def append(self, queue: int, batch: BatchGiver) -> client.BatchAppended:
        """Store a batch, once; return where.

        Args:
            queue: Its number.
            batch: Gives it, each time just before it is sent; what that raises ends the trying.
        """


class ClusterForwarding:
    """By a client's own connections."""

    def __init__(self, asker: Asker, catalog: Catalog) -> None:
        self._asker: Final = asker
        self._catalog: Final = catalog

    async def queues(self, topic: str) -> Queues:
        """Return the numbers of a topic's queues."""
        return await self._catalog.find(topic, TRY_S)

    def forget_queues(self, topic: str) -> None:
        """Ask again the next time."""
        self._catalog.forget(topic)

    def needs(self, topic: str) -> TopicNeeds:
        """Return what a record must have, as far as is known, to be sent to a topic."""
        return self._catalog.needs(topic)

    async def draw_producer(self) -> int:
        """Return a producer id that nobody has."""
        answer, _ = await self._asker.ask(
            Method.PRODUCER_INIT,
            producers.InitProducer(),
            producers.ProducerBegun,
            timeout_s=TRY_S,
            repeats=True,
        )
        return answer.producer

    async def fence(self, queue: int, producer: int, epoch: int) -> producers.ProducerFenced:
        """Begin an epoch; return what the epoch before it has stored."""
        answer, _ = await self._asker.ask(
            Method.PRODUCER_FENCE,
            producers.FenceProducer(queue=queue, producer=producer, epoch=epoch),
            producers.ProducerFenced,
            timeout_s=TRY_S,
            repeats=True,
        )
        return answer

    async def append(self, queue: int, batch: BatchGiver) -> client.BatchAppended:
        """Store a batch, once; return where."""
        try:
            answer, _ = await self._asker.ask(
                Method.APPEND,
                client.AppendBatch(queue=queue, client=self._asker.client_id),
                client.BatchAppended,
                payload=lambda: (batch(),),
                timeout_s=TRY_S,
                repeats=True,
            )
        except WrongMessageType as error:
            self._catalog.needs(error.topic).learn(error.takes)
            raise
        return answer
