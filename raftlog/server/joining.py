"""A node that joins a cluster that exists: ``--join`` (ruling 5).

Its directory becomes a new, empty learner's: an identity is drawn, and which
cluster it belongs to is asked of the other nodes in ``cluster.yml``, or given.
Then it asks to be added, and to become a voter once it has the log::

    no directory --format--> learner, knows nobody --add--> is sent the log --promote--> voter

That is also how a node comes back whose disk was wiped or whose directory is
older than its promises: under its name, and as another replica. The one that
it was is removed first, by a decision of the others, like every change.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from raftlog.base.errors import (
    ConfigError,
    DirectoryFormatted,
    OutcomeUnknown,
    RaftlogError,
    Retriable,
    Unavailable,
)
from raftlog.base.ids import ClusterId, NodeId, ReplicaId
from raftlog.client.client import Client
from raftlog.client.members import VOTER, Members
from raftlog.client.routing import ask_status
from raftlog.server.config import Config, is_anywhere
from raftlog.storage.directory import DataDirectory, format_learner
from raftlog.storage.log_store import StoreOptions
from raftlog.wire.schema import client

AskNode = Callable[[str], Awaitable[client.NodeStatus]]
"""Asks the node at an address what it is; raises a ``RaftlogError`` if it can't."""

log: Final = logging.getLogger("raftlog.node")

ASK_TIMEOUT_S: Final = 2.0
PAUSE_S: Final = 0.5
"""Between two attempts to become a member."""


async def _ask(address: str) -> client.NodeStatus:
    return await ask_status(address, timeout_s=ASK_TIMEOUT_S)


async def join(
    config: Config, name: NodeId, *, cluster: str = "", ask: AskNode = _ask
) -> ReplicaId:
    """Format the directory of node ``name`` as a new learner's.

    Args:
        config: The cluster's file; it names ``name`` and some nodes that run.
        name: The node that joins.
        cluster: Its cluster's id; "": it is asked for.
        ask: Asks a node.

    Raises:
        DirectoryFormatted, DirectoryRefused: The directory is not new.
        Unavailable: No other node of the file answers.
    """
    node = config.find(name)
    if DataDirectory.is_formatted(node.data):
        raise DirectoryFormatted(
            f"{node.data} belongs to a cluster already: start the node without --join, or move "
            "the directory away if it is to come back as a new one"
        )
    found = cluster or await _cluster_of_peers(config, name, ask)
    options = StoreOptions(
        segment_bytes=config.segment_bytes, durable=config.durability == "fsync"
    )
    return format_learner(
        node.data, ClusterId(found), node.node, shards=config.shards, options=options
    )


async def _cluster_of_peers(config: Config, name: NodeId, ask: AskNode) -> str:
    reason = "it names no other node"
    for node in config.nodes.values():
        if node.node == name:
            continue
        try:
            status = await ask(node.advertise_client)
        except RaftlogError as error:
            reason = str(error)
            continue
        return status.cluster
    raise Unavailable(
        f"no other node of {config.path} answers, so {name} can't learn which cluster it joins "
        f"({reason}); start one of them, or give the cluster's id"
    )


# -- once it runs


async def become_member(config: Config, replica: ReplicaId, cluster: ClusterId) -> None:
    """Ask the cluster to add ``replica`` and to let it vote; return when it does.

    What can pass is waited for; a refusal is said in the log, and ends it: the node
    goes on as what it is.
    """
    seeds = [each.advertise_client for each in config.nodes.values() if each.node != replica.node]
    async with Client(seeds, cluster=cluster) as client:
        while True:
            try:
                if await _come_closer(client.members, config, replica):
                    log.info("this node is a voter now")
                    return
            except (Retriable, OutcomeUnknown) as error:
                log.info("joining: %s", error)
            except RaftlogError as error:
                log.error("this node does not become a voter: %s", error)  # noqa: TRY400
                return
            await asyncio.sleep(PAUSE_S)


async def _come_closer(members: Members, config: Config, replica: ReplicaId) -> bool:
    """Ask for the next change; return whether there is nothing left to ask for."""
    known = {each.node: each for each in await members.list()}
    mine = known.get(replica.node)
    if mine is not None and mine.directory != replica.directory:
        log.warning("%s was here with another directory: that member is removed", replica.node)
        await members.remove(replica.node)
    elif mine is None:
        peer, client = addresses_of(config, replica.node)
        await members.add(replica.node, directory=replica.directory, peer=peer, client=client)
        log.info("this node is a learner now; it becomes a voter when it has caught up")
    elif mine.place != VOTER:
        await members.promote(replica.node)
    else:
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
