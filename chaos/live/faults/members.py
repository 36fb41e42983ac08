"""Members that are demoted and promoted, and disks that are replaced by empty ones."""

from random import Random
from typing import Final

from chaos.check.client_history import Event
from chaos.live.faults.fault import WELL_S, Fault, Step, choose_follower, whom
from chaos.live.world import World


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


FAULTS: Final = {
    "demote": Fault("members", "a voter is a learner for a while", demote, takes_s=3.0),
    "wipe": Fault("members", "a disk is replaced by an empty one", wipe, takes_s=6.0, alone=True),
}
