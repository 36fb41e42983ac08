"""Asking a node to look for damage now, and waiting until it has."""

import asyncio
from typing import Final

import msgspec

from raftlog.base.errors import Unavailable
from raftlog.client.channel import Channel
from raftlog.wire.address import parse_address
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

LOOK_S: Final = 0.1
REPAIR_S: Final = 3.0
"""How long what was found may take to be repaired before it is told as damaged."""


class Scrubbed(msgspec.Struct, frozen=True):
    """What a pass has found: damage, what was repaired of it, and entries that still are bad."""

    bytes: int
    found: int
    repaired: int
    damaged: int


async def scrub_node(address: str, shard: int, timeout_s: float) -> Scrubbed:
    """Let the node at ``address`` scrub a shard, and wait for the end of the pass.

    Raises:
        Unavailable: It does not answer, or the pass takes longer than ``timeout_s``.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    host, port = parse_address(address)
    channel = await Channel.connect(host, port, cluster="", timeout_s=timeout_s)

    async def counters() -> dict[str, int]:
        left = max(LOOK_S, deadline - loop.time())
        ask, answer = client.GetStatus(), client.NodeStatus
        status, _ = await channel.call(Method.STATUS, ask, answer, shard=shard, timeout_s=left)
        return dict(status.counters)

    try:
        before = await counters()
        begun, _ = await channel.call(
            *(Method.SCRUB, client.ScrubNow(), client.ScrubBegun),
            shard=shard,
            timeout_s=timeout_s,
        )
        wanted = begun.number
        now = before
        patience = 0.0
        while now["scrub_passes"] < wanted or (now["faulty_entries_size"] and patience < REPAIR_S):
            if loop.time() >= deadline:
                raise Unavailable(
                    f"the node at {address} still scrubs after {timeout_s:g} s; it goes on, see "
                    "the counters scrub_passes and scrub_found, or wait with a longer --timeout"
                )
            await asyncio.sleep(LOOK_S)
            now = await counters()
            patience += LOOK_S if now["scrub_passes"] >= wanted else 0.0
    finally:
        await channel.aclose()
    repaired = ("entries_repaired", "files_repaired")
    return Scrubbed(
        bytes=now["scrub_bytes"] - before["scrub_bytes"],
        found=now["scrub_found"] - before["scrub_found"],
        repaired=sum(now[name] - before[name] for name in repaired),
        damaged=now["faulty_entries_size"],
    )
