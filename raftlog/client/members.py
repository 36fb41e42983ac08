"""Administration of the members: who they are, and changes of that, one at a time.

A node is a member of every shard of its cluster, so each change is asked of each
shard's leader, one shard after the other. What a shard has done already changes
nothing there, so a change that failed half-way is finished by asking again.
"""

import asyncio
from collections.abc import Awaitable, Callable

from raftlog.base.errors import BadRequest, MemberNotFound
from raftlog.client.asking import Asker
from raftlog.client.durations import Duration, seconds
from raftlog.client.routing import Router
from raftlog.client.shard_members import MemberInfo, Rows, ShardMembers
from raftlog.wire.frame import Method
from raftlog.wire.schema import client as messages


class Members:
    """The members of a cluster: ``client.members``.

    Every method returns all members of all shards as they are then, and raises
    ``Unavailable`` when there is no leader within its timeout (seconds; without it, the
    client's). What is so already changes nothing, so whatever was interrupted may be
    asked again.
    """

    def __init__(self, asker: Asker, router_of: Callable[[int], Router]) -> None:
        self._asker = asker
        self._router_of = router_of
        self._shards: tuple[ShardMembers, ...] = ()

    async def list(self, *, timeout: Duration | None = None) -> tuple[MemberInfo, ...]:
        """Return the members."""
        return await self._each(lambda shard, left_s: shard.list(left_s), timeout)

    async def add(
        self,
        node: str,
        *,
        directory: str,
        peer: str,
        client: str,
        timeout: Duration | None = None,
    ) -> tuple[MemberInfo, ...]:
        """Add ``node`` as a learner: it is sent the log and decides nothing.

        Args:
            node: Its name.
            directory: The id of its data directory, as ``status`` of that node says it.
            peer: ``host:port`` where the other nodes reach it.
            client: ``host:port`` where clients reach it.
            timeout: See above.

        Raises:
            MemberExists: Another directory of the node is a member: remove that first.
            BadChange: There are too many learners.
            ChangePending: Other changes took all the time.
        """
        return await self._each(
            lambda shard, left_s: shard.add(node, directory, peer, client, left_s), timeout
        )

    async def promote(
        self, node: str, *, timeout: Duration | None = None
    ) -> tuple[MemberInfo, ...]:
        """Make a learner a voter as soon as it has caught up.

        Raises:
            NotCaughtUp: It has not in time.
            MemberNotFound: It is no member.
            BadChange: There are too many voters.
        """
        return await self._each(lambda shard, left_s: shard.promote(node, left_s), timeout)

    async def demote(
        self, node: str, *, timeout: Duration | None = None
    ) -> tuple[MemberInfo, ...]:
        """Make a voter a learner; it stays one until ``promote``.

        Raises:
            MemberNotFound: It is no member.
            BadChange: It is the only voter, or there are too many learners.
        """
        return await self._each(lambda shard, left_s: shard.demote(node, left_s), timeout)

    async def remove(
        self, node: str, *, timeout: Duration | None = None
    ) -> tuple[MemberInfo, ...]:
        """Remove a member, which may be the leader or be down.

        Raises:
            MemberNotFound: It is no member.
            BadChange: It is the only voter.
        """
        missing: dict[int, MemberNotFound] = {}

        async def remove(shard: ShardMembers, left_s: float) -> Rows:
            try:
                return await shard.remove(node, left_s)
            except MemberNotFound as error:
                missing[shard.shard] = error
                return await shard.list(left_s)

        rows = await self._each(remove, timeout)
        if len(missing) == len(self._shards):
            raise missing[0]
        return rows

    async def prefer(
        self, *nodes: str, shard: int | None = None, timeout: Duration | None = None
    ) -> tuple[MemberInfo, ...]:
        """Let one of ``nodes`` lead whenever it can, the first of them most; none: nobody.

        A wish, not an order: who is preferred gets leadership when it answers, has caught up and
        is neither drained nor full, some seconds later.

        Args:
            nodes: Members, each once.
            shard: Only of this shard; without it, of all.
            timeout: See above.

        Raises:
            MemberNotFound: One is no member.
            BadChange: One is named twice.
            BadRequest: There is no such shard.
        """
        return await self._each(lambda each, left_s: each.prefer(nodes, left_s), timeout, shard)

    # -- inside

    async def _of_shards(self, timeout_s: float) -> tuple[ShardMembers, ...]:
        """Return each shard's members."""
        if not self._shards:
            asker = self._asker
            status, _ = await asker.ask(
                Method.STATUS, messages.GetStatus(), messages.NodeStatus, timeout_s=timeout_s
            )
            self._shards = (
                ShardMembers(asker),
                *(
                    ShardMembers(
                        Asker(self._router_of(shard), shard=shard, timeout_s=asker.timeout_s)
                    )
                    for shard in range(1, status.shards)
                ),
            )
        return self._shards

    async def _each(
        self,
        ask: Callable[[ShardMembers, float], Awaitable[Rows]],
        timeout: Duration | None,
        only: int | None = None,
    ) -> Rows:
        loop = asyncio.get_running_loop()
        patience_s = self._asker.timeout_s if timeout is None else seconds(timeout)
        deadline = loop.time() + patience_s
        rows: list[MemberInfo] = []
        shards = await self._of_shards(patience_s)
        if only is not None and only not in range(len(shards)):
            raise BadRequest(f"there is no shard {only}; the last one is {len(shards) - 1}")
        for shard in shards if only is None else (shards[only],):
            rows += await ask(shard, max(0.1, deadline - loop.time()))
        return tuple(rows)
