"""Any node that answers, a follower if there is one: for reads that may be a little old.

It has the two methods of a ``Router`` that asking needs. A node is kept as long
as it answers; one that does not, or knows no leader, has its turn again later.
"""

from random import Random
from typing import Final, Protocol

from raftlog.base.errors import NotLeader, RaftlogError
from raftlog.client.channel import Channel
from raftlog.client.routing import Router


class Finder(Protocol):
    """Whom to ask."""

    async def find(self, timeout_s: float) -> Channel:
        """Return an open channel."""

    def demote(self, channel: Channel, error: NotLeader | None = None) -> None:
        """That was not whom to ask."""


class AnyNode:
    """Finds a node, rather not the leader."""

    def __init__(self, router: Router) -> None:
        self._router: Final = router
        self._random: Final = Random()
        self._channel: Channel | None = None
        self._avoided: set[str] = set()

    async def find(self, timeout_s: float) -> Channel:
        """Return a channel to a follower; to the leader if no other node answers.

        Raises: as ``Router.find``.
        """
        if self._channel is not None and self._channel.is_open:
            return self._channel
        leader = await self._router.find(timeout_s)
        addresses = [each for each in self._router.addresses if each not in self._avoided]
        self._random.shuffle(addresses)
        for address in addresses:
            try:
                channel = await self._router.channel_to(address)
            except RaftlogError:
                self._avoided.add(address)
                continue
            if channel is not leader:
                self._channel = channel
                return channel
        self._avoided.clear()
        return leader

    def demote(self, channel: Channel, error: NotLeader | None = None) -> None:
        """Ask another one next time."""
        if channel is self._channel:
            self._channel = None
            self._avoided.update(self._router.addresses_of(channel))
        self._router.demote(channel, error)
