"""Members that come and go, that are demoted and promoted, and disks replaced by empty ones."""

import asyncio
from random import Random
from typing import Final

from chaos.check.client_history import Event
from chaos.live.cluster import LiveNode
from chaos.live.faults.fault import (
    WELL_S,
    Fault,
    Step,
    choose_follower,
    was_ended_by,
    whom,
)
from chaos.live.world import World

LEADS_SHARE: Final = 0.5
"""How often it is the leader that is removed."""
REMOVED: Final = "was removed from the cluster"
REMOVED_S: Final = 30.0
"""For who was removed to find out for certain, and to end; it takes a few seconds."""
LOOK_S: Final = 0.1


async def demote(world: World, step: Step, event: Event, random: Random) -> None:
    """A voter, perhaps the leader, becomes a learner for a while."""
    del random
    await world.cluster.settled(WELL_S)
    name = whom(step).choice(world.free())
    world.take(event, name)
    event.target = name
    async with world.client(timeout_s=WELL_S) as client:
        rows = await client.members.demote(name)
        event.happened = any(each.node == name and each.place == "learner" for each in rows)
        await world.rest(step.lasts_s)
        rows = await client.members.promote(name)
        event.note = f"{name} is a {[each.place for each in rows if each.node == name]} again"
    await world.cluster.settled(WELL_S)


async def wipe(world: World, step: Step, event: Event, random: Random) -> None:
    """A node's disk is replaced by an empty one; it comes back as a new replica."""
    del random
    name = await choose_follower(world, step, event)
    node = world.cluster.nodes[name]
    async with world.client(timeout_s=WELL_S) as client:
        old = {each.directory for each in await client.members.list() if each.node == name}
        node.kill()
        await node.ended()
        world.cluster.wipe(name)
        await world.rest(min(step.lasts_s, 1.0))
        node.begin(join=True)
        await world.cluster.settled(WELL_S)
        new = {each.directory for each in await client.members.list() if each.node == name}
    event.happened = bool(new) and new.isdisjoint(old)
    event.note = f"{name} is another replica now" if event.happened else f"{old}, {new}"


async def replace(world: World, step: Step, event: Event, random: Random) -> None:
    """A node is added, and another one removed, perhaps the leader: it is the next to be added.

    Who was removed ends by itself, and comes back only with an empty directory.
    """
    del random
    cluster = world.cluster
    await cluster.settled(WELL_S)
    members = cluster.names
    new = cluster.spare
    if new is None:
        event.note = "nobody stands by: a change before this one did not come to its end"
        return
    async with world.client(timeout_s=WELL_S) as client:
        new.begin(join=True)
        cluster.admit(new)
        event.target = new.node
        await cluster.settled(WELL_S)  # it votes
        leader = (await cluster.leader(WELL_S)).node
        draw = whom(step)
        others = [name for name in members if name != leader]
        leads = leader in members and draw.random() < LEADS_SHARE
        name = leader if leads else draw.choice(others)
        event.target = f"{new.node} for {name}"
        gone = cluster.nodes[name]
        gone.excused = True
        rows = await client.members.remove(name)
        cluster.dismiss(gone)
        voters = {each.node for each in rows if each.place == "voter"}
        event.happened = new.node in voters and name not in voters
        event.note = f"{name} was removed{', and led' if name == leader else ''}"
        await world.rest(step.lasts_s)
        await _end_of_removed(world, gone)
    await cluster.settled(WELL_S)


async def _end_of_removed(world: World, node: LiveNode) -> None:
    """Wait until a node that was removed has ended by that, and take its directory away."""
    until = world.now() + REMOVED_S
    while node.running and world.now() < until:  # noqa: ASYNC110  (a process)
        await asyncio.sleep(LOOK_S)
    if node.running:
        world.saw("heals", f"{node.node} was removed, and runs after {REMOVED_S:g} s")
        node.kill()
        await node.ended()
    else:
        await node.ended()
        was_ended_by(world, node, REMOVED)
    node.excused = False
    world.cluster.wipe(node.node)


FAULTS: Final = {
    "replace": Fault(
        *("members", "a node is added and a member removed, perhaps the leader", replace),
        takes_s=12.0,
        alone=True,
    ),
    "demote": Fault("members", "a voter is a learner for a while", demote, takes_s=3.0),
    "wipe": Fault("members", "a disk is replaced by an empty one", wipe, takes_s=6.0, alone=True),
}
