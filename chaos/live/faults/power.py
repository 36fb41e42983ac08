"""Power that fails, at one node or at all of them: what was not synced is lost."""

import asyncio
from random import Random
from typing import Final

from chaos.check.client_history import Event
from chaos.live.faults.fault import WELL_S, Fault, Step, choose, mark_loss
from chaos.live.journal import KINDS
from chaos.live.world import World

LOOK_S: Final = 0.05


async def power(world: World, step: Step, event: Event, random: Random) -> None:
    """One node loses its power."""
    name = await choose(world, step, event)
    node = world.cluster.nodes[name]
    await mark_loss(world, event, name, kills=True)
    kind = random.choice(KINDS)
    found = await node.cut_power(kind, step.seed)
    event.happened = found.get("unsynced", 0) > 0  # else it was no more than a SIGKILL
    event.note = f"{kind}: {found}"
    await world.rest(step.lasts_s)
    await node.ended()
    node.begin()


async def power_all(world: World, step: Step, event: Event, random: Random) -> None:
    """All nodes lose their power at once, while all serve: else some have nothing to lose."""
    await _until_all_serve(world)
    nodes = list(world.cluster.nodes.values())
    event.target = "all"
    kinds = [random.choice(KINDS) for _ in nodes]
    found = await asyncio.gather(
        *(node.cut_power(kind, step.seed) for node, kind in zip(nodes, kinds, strict=True))
    )
    unsynced = sum(each.get("unsynced", 0) for each in found)
    event.happened = all(found) and unsynced > 0
    event.note = f"{', '.join(kinds)}: {unsynced} unsynced"
    await world.rest(min(step.lasts_s, 2.0))
    for node in nodes:
        await node.ended()
        node.begin()


async def _until_all_serve(world: World) -> None:
    """Wait until no node is missing, and clients have been acknowledged something after that."""
    until = world.now() + WELL_S
    acked: int | None = None
    while world.now() < until and not world.stopping.is_set():
        view = await world.look()
        if view.complaint or view.missing:
            acked = None
        elif acked is None:
            acked = world.acked
        elif world.acked > acked:
            return
        await asyncio.sleep(LOOK_S)


FAULTS: Final = {
    "power": Fault("power", "one node loses its power", power, weight=4),
    "power-all": Fault(
        "power", "all nodes lose their power at once", power_all, weight=2, alone=True
    ),
}
