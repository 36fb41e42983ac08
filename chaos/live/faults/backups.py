"""An old copy of a node's directory is put back under it: its promises are forgotten.

It hits one replica, and only once everything that this one had is on a majority without it, and
all follow one leader (ruling 16). A peer that remembers more turns the node away, and it ends
and says so; it comes back as a new one.
"""

import asyncio
from contextlib import suppress
from random import Random
from shutil import copytree, rmtree
from typing import Final

from chaos.check.client_history import Event
from chaos.live.faults.fault import WELL_S, Fault, Step, choose_follower, was_ended_by
from chaos.live.world import World
from raftlog.base.errors import RaftlogError, Unavailable
from raftlog.base.ids import NodeId

LOOK_S: Final = 0.05
FOUND_OUT: Final = "older than its promises"


async def old_backup(world: World, step: Step, event: Event, random: Random) -> None:
    """Copy a directory, go on for a while, put the copy back."""
    del random
    cluster = world.cluster
    name = await choose_follower(world, step, event)
    node = cluster.nodes[name]
    copy = cluster.directory / "backup"
    node.kill()
    await node.ended()
    await asyncio.to_thread(copytree, node.data, copy)
    try:
        node.begin()
        await cluster.settled(WELL_S)
        await world.rest(step.lasts_s)
        await cluster.settled(WELL_S)
        node.excused = True
        node.kill()
        await node.ended()
        await _is_not_needed(world)
        cluster.wipe(name)
        copy.rename(node.data)
    finally:
        rmtree(copy, ignore_errors=True)
    node.begin()
    await _until_found_out_or_whole(world, name)
    if node.running:
        event.note = "nobody remembered: it went on with what it had"
    else:
        event.happened = was_ended_by(world, node, FOUND_OUT)
        event.note = node.why()
        await node.ended()
        cluster.wipe(name)
        node.begin(join=True)
    node.excused = False
    await cluster.settled(WELL_S)


async def _is_not_needed(world: World) -> None:
    """Wait until what was in the log when the node ended is on a majority without it.

    It is once something later is committed, as the node has no part in that.
    """
    last = max(each.last for each in (await world.look()).nodes)
    until = world.now() + WELL_S
    while (await world.cluster.leader(WELL_S)).commit <= last:
        if world.now() > until:
            raise Unavailable(f"nothing is committed beyond {last}, and a majority runs")
        await asyncio.sleep(LOOK_S)


async def _until_found_out_or_whole(world: World, name: NodeId) -> None:
    """Wait until a node has ended, or has what the others have."""
    node = world.cluster.nodes[name]
    until = world.now() + WELL_S
    while node.running and world.now() < until:
        with suppress(RaftlogError):
            await world.cluster.settled(LOOK_S)
            return


FAULTS: Final = {
    "old-backup": Fault(
        "disk",
        "an old copy of a node's directory is put back",
        old_backup,
        takes_s=10.0,
        alone=True,
    ),
}
