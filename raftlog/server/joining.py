"""A node that joins a cluster that exists: ``--join`` (ruling 5).

Its directory becomes a new, empty learner's: an identity is drawn, and which
cluster it belongs to is asked of the other nodes in ``cluster.yml``, or given.
Then it asks each shard to be added, and to become a voter once it has the log::

    no directory --format--> learner, knows nobody --add--> is sent the log --promote--> voter

That is also how a node comes back whose disk was wiped or whose directory is
older than its promises: under its name, and as another replica. The one that
it was is removed first, by a decision of the others, like every change. Not
while that one is alive: then somebody gave two nodes one name, and the one that
serves must not suffer for it.

What an operator has decided stands: who was made a learner stays one, and who
was removed stays away, however often the node is started with ``--join``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from raftlog.base.errors import (
    ConfigError,
    DirectoryFormatted,
    MemberAlive,
    OutcomeUnknown,
    RaftlogError,
    Retriable,
    Unavailable,
)
from raftlog.base.ids import ClusterId, NodeId, ReplicaId, ShardId
from raftlog.base.limits import TICK_NS
from raftlog.client.asking import Asker
from raftlog.client.routing import Router, ask_status
from raftlog.client.shard_members import VOTER, MemberInfo, ShardMembers
from raftlog.raft.leader import SILENCES
from raftlog.server.config import Config, is_anywhere
from raftlog.storage.directory import DataDirectory, format_learner
from raftlog.storage.log_store import StoreOptions
from raftlog.wire.schema import client

AskNode = Callable[[str], Awaitable[client.NodeStatus]]
"""Asks the node at an address what it is; raises a ``RaftlogError`` if it can't."""

ListMembers = Callable[[str], Awaitable[Sequence[MemberInfo]]]
"""Lists the members of all shards of a cluster; raises a ``RaftlogError`` if nobody leads."""

log: Final = logging.getLogger("raftlog.node")

ASK_TIMEOUT_S: Final = 2.0
CHANGE_TIMEOUT_S: Final = 30.0
PAUSE_S: Final = 0.5
"""Between two attempts to become a member."""
LIFE_SIGNS: Final = 2 * SILENCES
"""Longest election timeouts after which who still counts as alive does live: twice what a
leader takes for silence, so that a process which died a moment ago is not taken for alive."""


async def _ask(address: str) -> client.NodeStatus:
    return await ask_status(address, timeout_s=ASK_TIMEOUT_S)


async def join(
    config: Config,
    name: NodeId,
    *,
    cluster: str = "",
    ask: AskNode = _ask,
    list_members: ListMembers | None = None,
) -> ReplicaId:
    """Format the directory of node ``name`` as a new learner's.

    Args:
        config: The cluster's file; it names ``name`` and some nodes that run.
        name: The node that joins.
        cluster: Its cluster's id; "": it is asked for, and so is whether ``name`` is free.
        ask: Asks a node.
        list_members: Lists the members.

    Raises:
        DirectoryFormatted, DirectoryRefused: The directory is not new.
        ConfigError: The cluster has another number of shards than the file says.
        MemberAlive: Another node of this name is a member and alive.
        Unavailable: No other node of the file answers.
    """
    node = config.find(name)
    if DataDirectory.is_formatted(node.data):
        raise DirectoryFormatted(
            f"{node.data} belongs to a cluster already: start the node without --join, or move "
            "the directory away if it is to come back as a new one"
        )
    if not cluster:
        found = await _status_of_peers(config, name, ask)
        cluster = found.cluster
        if found.shards not in (0, config.shards):
            raise ConfigError(
                f"{config.path}:1:1: the cluster has {found.shards} shards, and this file says "
                f"{config.shards}; write 'shards: {found.shards}'"
            )
        await _refuse_living(config, name, cluster, list_members or _lister(config, name))
    options = StoreOptions(
        segment_bytes=config.segment_bytes, durable=config.durability == "fsync"
    )
    return format_learner(
        node.data, ClusterId(cluster), node.node, shards=config.shards, options=options
    )


async def _status_of_peers(config: Config, name: NodeId, ask: AskNode) -> client.NodeStatus:
    reason = "it names no other node"
    for node in config.nodes.values():
        if node.node == name:
            continue
        try:
            return await ask(node.advertise_client)
        except RaftlogError as error:
            reason = str(error)
    raise Unavailable(
        f"no other node of {config.path} answers, so {name} can't learn which cluster it joins "
        f"({reason}); start one of them, or give the cluster's id"
    )


async def _refuse_living(
    config: Config, name: NodeId, cluster: str, list_members: ListMembers
) -> None:
    """Wait until no member of this name is alive; the leader says so again when it matters.

    Raises:
        MemberAlive: One is.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + life_signs_s(config)
    while True:
        try:
            members = await list_members(cluster)
        except RaftlogError as error:
            log.info("whether another %s is alive can't be asked yet: %s", name, error)
            return
        living = next((each for each in members if each.node == name and each.alive), None)
        if living is None:
            return
        if loop.time() >= deadline:
            raise MemberAlive(
                f"{name} is a member of this cluster and alive, with the directory "
                f"{living.directory}; choose another name for the new node, or stop the one that "
                "has this name first"
            )
        await asyncio.sleep(PAUSE_S)


def life_signs_s(config: Config) -> float:
    """Return for how long somebody who died may count as alive."""
    return LIFE_SIGNS * config.timings.election_ticks_max * TICK_NS / 1e9


def _seeds(config: Config, name: NodeId) -> list[str]:
    return [each.advertise_client for each in config.nodes.values() if each.node != name]


def _lister(config: Config, name: NodeId) -> ListMembers:
    async def list_members(cluster: str) -> Sequence[MemberInfo]:
        # A fifth of what a node loads, and no other node needs it.
        from raftlog.client.client import Client  # noqa: PLC0415

        async with Client(_seeds(config, name), cluster=cluster) as client:
            return await client.members.list(timeout=ASK_TIMEOUT_S * config.shards)

    return list_members


# -- once it runs


async def become_voter(
    config: Config,
    replica: ReplicaId,
    cluster: ClusterId,
    shard: ShardId,
    *,
    was_member: bool = False,
) -> None:
    """Ask a shard to add ``replica`` and to let it vote; return when it does.

    What can pass is waited for; a refusal is said in the log, and ends it: the node
    goes on as what it is. ``was_member``: it was added before, so if it is no member
    now, an operator has removed it.

    Raises:
        MemberAlive: Another node of this name is a member and alive: this one must end.
    """
    router = Router(_seeds(config, replica.node), shard=shard, cluster=cluster)
    asking = Joining(
        config, replica, ShardMembers(Asker(router, shard=shard)), was_member=was_member
    )
    try:
        await asking.until_it_votes()
    finally:
        await router.aclose()


async def decided_members(
    config: Config, name: NodeId, cluster: ClusterId, shard: ShardId
) -> Sequence[MemberInfo] | None:
    """Ask the other nodes for a shard's members; None while they may still change back.

    Raises:
        RaftlogError: Nobody who leads has answered.
    """
    router = Router(_seeds(config, name), shard=shard, cluster=cluster)
    try:
        return await ShardMembers(Asker(router, shard=shard)).decided(ASK_TIMEOUT_S)
    finally:
        await router.aclose()


class Joining:
    """One replica's way to its vote in one shard."""

    def __init__(
        self, config: Config, replica: ReplicaId, members: ShardMembers, *, was_member: bool
    ) -> None:
        self._config = config
        self._replica = replica
        self._members = members
        self._was_member = was_member

    async def until_it_votes(self) -> None:
        """Ask for one change after the other; ``MemberAlive`` as ``become_voter`` says."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + life_signs_s(self._config)
        shard = self._members.shard
        while True:
            try:
                if await self._come_closer():
                    return
            except MemberAlive as error:
                if loop.time() >= deadline:
                    raise
                log.info("joining shard %d: %s", shard, error)
            except (Retriable, OutcomeUnknown) as error:
                log.info("joining shard %d: %s", shard, error)
            except RaftlogError as error:
                log.error("this node does not vote in shard %d: %s", shard, error)  # noqa: TRY400
                return
            await asyncio.sleep(PAUSE_S)

    async def _come_closer(self) -> bool:
        """Ask for the next change; return whether there is nothing left to ask for."""
        node, members, shard = self._replica.node, self._members, self._members.shard
        known = {each.node: each for each in await members.list(CHANGE_TIMEOUT_S)}
        mine = known.get(node)
        if mine is not None and mine.directory != self._replica.directory:
            await members.replace(node, mine.directory, CHANGE_TIMEOUT_S)
            log.warning("shard %d: %s with directory %s is removed", shard, node, mine.directory)
        elif mine is None and self._was_member:
            log.warning(
                "shard %d: this node was removed from the cluster, and --join does not undo that",
                shard,
            )
            return True
        elif mine is None:
            peer, client = addresses_of(self._config, node)
            directory = self._replica.directory
            await members.add(node, directory, peer, client, CHANGE_TIMEOUT_S)
            self._was_member = True
            log.info("shard %d: a learner now; it votes when it has caught up", shard)
        elif mine.place != VOTER:
            await members.promote(node, CHANGE_TIMEOUT_S, by_itself=True)
        else:
            log.info("shard %d: this node is a voter now", shard)
            return True
        return False


def addresses_of(config: Config, name: NodeId) -> tuple[str, str]:
    """Return where nodes and clients reach a node, as the file says.

    Raises:
        ConfigError: Nobody could reach the other nodes' address for it.
    """
    node = config.find(name)
    peer = config.peer_addresses(name)[name]
    if is_anywhere(peer):
        raise ConfigError(
            f"{config.path}:1:1: {name} listens on {peer}, where nobody can reach it; say where "
            "the other nodes can: raftlog member add --peer host:port"
        )
    return peer, node.advertise_client
