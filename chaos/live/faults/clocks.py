"""Wall clocks that jump. One node's at a time: those of a majority are right, so log time is."""

from random import Random
from typing import Final

from chaos.check.client_history import Event
from chaos.live.faults.fault import Fault, Step, choose
from chaos.live.world import World

JUMPS_MS: Final = (300, 2_000, 120_000, 3_600_000, 86_400_000)


async def jump(world: World, step: Step, event: Event, random: Random) -> None:
    """A node's clock is ahead or behind for a while, and jumps back."""
    name = await choose(world, step, event)
    node = world.cluster.nodes[name]
    event.target = name
    shift_ms = random.choice(JUMPS_MS) * random.choice((-1, 1))
    before = (await node.set_clock(shift_ms)).get("reads", 0)
    await world.rest(step.lasts_s)
    reads = (await node.set_clock(0)).get("reads", 0) - before
    event.happened = reads > 0
    event.note = f"{shift_ms / 1000:+,} s, read {reads} times"


FAULTS: Final = {
    "clock-jump": Fault("clock", "a node's wall clock jumps, and back again", jump, weight=2),
}
