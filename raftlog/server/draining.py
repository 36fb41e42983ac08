"""Asking a node to let others lead, and waiting until they do."""

import asyncio
from typing import Final

import msgspec

from raftlog.base.errors import RaftlogError, Unavailable, WrongIdentity
from raftlog.client.channel import Channel
from raftlog.client.routing import ask_status
from raftlog.wire.address import parse_address
from raftlog.wire.frame import Method
from raftlog.wire.schema import client

LOOK_S: Final = 0.05


class Drained(msgspec.Struct, frozen=True):
    """What was so before, and who else is drained.

    Attributes:
        was_drained: Whether the node was drained when it was asked.
        others: The other voters that are drained, as far as the leader answers.
        spare: How many of the voters may be down.
    """

    was_drained: bool
    others: tuple[str, ...] = ()
    spare: int = 0


async def drain_node(address: str, node: str, timeout_s: float, *, undo: bool = False) -> Drained:
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
    was_drained = node in status.drained
    host, port = parse_address(address)
    channel = await Channel.connect(host, port, cluster=status.cluster, timeout_s=timeout_s)
    try:
        while True:
            answer, _ = await channel.call(
                *(Method.DRAIN, client.DrainNode(undo=undo), client.NodeDraining),
                timeout_s=max(LOOK_S, deadline - loop.time()),
            )
            if undo:
                return Drained(was_drained)
            if not answer.leads:
                return await _with_others(address, node, was_drained=was_drained)
            if loop.time() >= deadline:
                why = _why_still(await ask_status(address, shard=answer.leads[0]))
                raise Unavailable(_still_leads(node, list(answer.leads), timeout_s, why))
            await asyncio.sleep(LOOK_S)
    finally:
        await channel.aclose()


async def _with_others(address: str, node: str, *, was_drained: bool) -> Drained:
    """Ask the leader who else is drained: no other node knows."""
    try:
        status = await ask_status(address)
        if status.leader_address:
            status = await ask_status(status.leader_address)
    except RaftlogError:
        return Drained(was_drained)  # it is drained: that nobody leads yet is another matter
    others = tuple(each for each in status.drained if each in status.voters and each != node)
    return Drained(was_drained, others, spare=max(0, len(status.voters) - 1) // 2)


def _why_still(leader: client.NodeStatus) -> str:
    """Return why a leader does not get rid of its leadership."""
    others = [each for each in leader.voters if each != leader.node]
    drained = [each for each in others if each in leader.drained]
    if not drained:
        return "no other voter answers and has caught up"
    named = f"{' and '.join(drained)} {'is' if len(drained) == 1 else 'are'} drained, too"
    if len(drained) == len(others):
        return named
    return f"{named}, and no other voter answers and has caught up"


def _still_leads(node: str, shards: list[int], timeout_s: float, why: str) -> str:
    led = ", ".join(f"shard {shard}" for shard in shards)
    return (
        f"{node} still leads {led} after {timeout_s:g} s, because {why}; it stays drained, serves "
        "on, and hands over as soon as another one can lead. See: raftlog cluster status; take it "
        f"back: raftlog node drain --node {node} --undo"
    )
