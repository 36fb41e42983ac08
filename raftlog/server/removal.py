"""A node that was removed: it ends once that is certain, and stands for election no more.

Nobody sends anything to a replica that was removed. One that was down meanwhile, or that does
not know whether its removal was committed, hears no leader, stands for election, and is refused:
all of that is right, because without it the cluster might have no leader (Raft §4.2.2), and none
of it ever ends. One that knows is quiet, and of no use. So a node that hears no leader of any of
its shards asks for the members.

A node that is only *behind* must not end. It ends if, in every shard, a leader that has committed
an entry of its own term says that the members are committed and that this directory is none of
them. Who knows no members yet was never one: it waits to be added.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from raftlog.base.errors import RaftlogError
from raftlog.base.ids import DirectoryId, NodeId, ShardId
from raftlog.base.membership import Membership
from raftlog.client.shard_members import MemberInfo

LOOKS: Final = 2
"""Looks in a row that find no leader, before anybody is asked."""

AskMembers = Callable[[ShardId], Awaitable[Sequence[MemberInfo] | None]]
"""Asks a shard's leader for its members; None if they are not committed."""


class Following(Protocol):
    """What is looked at of a replica."""

    @property
    def leader(self) -> NodeId | None:
        """Who leads, as far as it knows."""

    @property
    def membership(self) -> Membership:
        """The configuration in force."""


class RemovalWatch:
    """Looks whether this node's replicas were removed from all of their shards."""

    def __init__(
        self,
        replicas: Mapping[ShardId, Following],
        directory: DirectoryId,
        ask: AskMembers,
        *,
        is_wanted: Callable[[], bool],
        pause_s: float,
    ) -> None:
        """``is_wanted`` says whether to look at all; ``pause_s`` is the time between two looks."""
        self._replicas: Final = replicas
        self._directory: Final = directory
        self._ask: Final = ask
        self._is_wanted: Final = is_wanted
        self._pause_s: Final = pause_s

    async def until_removed(self) -> None:
        """Return once it is certain that this node was removed."""
        looks = 0
        while True:
            await asyncio.sleep(self._pause_s)
            looks = looks + 1 if self._is_wanted() and self._is_forlorn else 0
            if looks >= LOOKS and await self._was_removed():
                return

    @property
    def _is_forlorn(self) -> bool:
        replicas = self._replicas.values()
        return all(each.leader is None and each.membership.voters for each in replicas)

    async def _was_removed(self) -> bool:
        for shard in self._replicas:
            try:
                members = await self._ask(shard)
            except RaftlogError:
                return False
            if members is None or any(each.directory == self._directory for each in members):
                return False
        return True
