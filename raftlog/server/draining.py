"""Asking a node to let others lead, and waiting until they do."""

import asyncio
from typing import Final

from raftlog.base.errors import Unavailable, WrongIdentity
from raftlog.client.channel import Channel
from raftlog.client.routing import ask_status
from raftlog.wire.address import parse_address
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

LOOK_S: Final = 0.05


async def drain_node(address: str, node: str, timeout_s: float, *, undo: bool = False) -> None:
    """Drain ``node``, which listens at ``address``, and wait until it leads nothing; or undo it.

    Raises:
        WrongIdentity: Another node answers there.
        BadRequest: Nobody else could lead.
        Unavailable: It does not answer, or still leads after ``timeout_s``: it stays drained.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    status = await ask_status(address, timeout_s=timeout_s)
    if status.node != node:
        raise WrongIdentity(
            f"{status.node or 'another node'} answers at {address}, not {node}; correct the "
            "addresses"
        )
    host, port = parse_address(address)
    channel = await Channel.connect(host, port, cluster=status.cluster, timeout_s=timeout_s)
    try:
        while True:
            answer, _ = await channel.call(
                *(Method.DRAIN, client.DrainNode(undo=undo), client.NodeDraining),
                timeout_s=max(LOOK_S, deadline - loop.time()),
            )
            if undo or not answer.leads:
                return
            if loop.time() >= deadline:
                raise Unavailable(_still_leads(node, list(answer.leads), timeout_s))
            await asyncio.sleep(LOOK_S)
    finally:
        await channel.aclose()


def _still_leads(node: str, shards: list[int], timeout_s: float) -> str:
    led = ", ".join(f"shard {shard}" for shard in shards)
    return (
        f"{node} still leads {led} after {timeout_s:g} s, because no other voter answers and has "
        f"caught up; it stays drained, serves on, and hands over as soon as one has. See: raftlog "
        f"cluster status; take it back: raftlog node drain --node {node} --undo"
    )
