"""The way to the cluster of what is written down before it is sent: one question each.

Whatever is asked here is harmless to ask again: an append carries its producer, epoch
and sequence, a fence its epoch, and a producer id that was drawn in vain costs nothing.
"""

from typing import Final, Protocol

from raftlog.base.entry import Buffer
from raftlog.client.asking import Asker
from raftlog.client.catalog import Catalog, Queues
from raftlog.wire.frame import Method
from raftlog.wire.schema import client, producers

TRY_S: Final = 5.0
"""Of one call; the caller asks again."""


class Forwarding(Protocol):
    """What is asked of a cluster. Each raises a ``RaftlogError`` as the cluster does."""

    async def queues(self, topic: str) -> Queues:
        """Return the numbers of a topic's queues."""

    def forget_queues(self, topic: str) -> None:
        """Ask again the next time."""

    async def draw_producer(self) -> int:
        """Return a producer id that nobody has."""

    async def fence(self, queue: int, producer: int, epoch: int) -> producers.ProducerFenced:
        """Begin an epoch; return what the epoch before it has stored."""

    async def append(self, queue: int, batch: Buffer) -> client.BatchAppended:
        """Store a batch, once; return where."""


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

    async def append(self, queue: int, batch: Buffer) -> client.BatchAppended:
        """Store a batch, once; return where."""
        answer, _ = await self._asker.ask(
            Method.APPEND,
            client.AppendBatch(queue=queue, client=self._asker.client_id),
            client.BatchAppended,
            payload=(batch,),
            timeout_s=TRY_S,
            repeats=True,
        )
        return answer
