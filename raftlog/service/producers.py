"""Producers: an id is drawn, and an epoch begun, by a commit and never by a look (ruling 10)."""

from typing import Final

from raftlog.broker.producers import FenceProducer, InitProducer, ProducerBegun, ProducerFenced
from raftlog.service.ports import ShardReplica
from raftlog.service.proposing import Reply, propose


class ProducerService:
    """The producers of one shard."""

    def __init__(self, replica: ShardReplica) -> None:
        self._replica: Final = replica

    def init(self, reply: Reply[ProducerBegun]) -> None:
        """Draw an id that nobody ever had. One that was drawn and lost costs nothing."""
        propose(self._replica, InitProducer, ProducerBegun, reply)

    def fence(self, queue: int, producer: int, epoch: int, reply: Reply[ProducerFenced]) -> None:
        """Begin ``epoch`` in ``queue``: nothing of an older one is stored there from now on.

        ``reply`` gets how far the epoch before had come; the same question again
        gets the same answer. ``Fenced`` if a newer epoch has begun, ``WrongQueue``
        if there is no such queue.
        """
        propose(
            *(self._replica, lambda: FenceProducer(queue, producer, epoch)),
            *(ProducerFenced, reply),
        )
