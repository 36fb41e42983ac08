"""Power that fails between a promise and the disk: what must not have been said yet is lost.

Both are what a careless product does not survive: an acknowledgement, or a vote, that leaves
before it is durable. Chance meets that window seldom, so it is held open here.
"""

import asyncio
from contextlib import ExitStack
from random import Random
from typing import Final

from chaos.check.client_history import Event
from chaos.live.bad_files import Trouble
from chaos.live.conditions import CUT
from chaos.live.faults.fault import WELL_S, Fault, Step
from chaos.live.world import World
from raftlog.base.ids import NodeId
from raftlog.server.observation import LEADS

HELD_S: Final = 3.0
"""How long a sync takes: the window."""
ACKS_S: Final = 0.8
LOOK_S: Final = 0.03


async def acknowledged(world: World, step: Step, event: Event, random: Random) -> None:
    """Followers acknowledge and lose their power before their sync; the leader is lost, too.

    With the smallest number of followers that makes a majority; the others are cut off meanwhile,
    and have nothing of it.
    """
    cluster = world.cluster
    await cluster.settled(WELL_S)
    leader = await cluster.leader(WELL_S)
    others = random.sample(
        [name for name in cluster.names if name != leader.node], k=len(cluster.names) - 1
    )
    needed = len(cluster.names) // 2
    promisers, away = others[:needed], others[needed:]
    event.target = f"{', '.join(promisers)} and {leader.node}"
    with ExitStack() as cuts_off:
        for name in away:
            cuts_off.enter_context(cluster.around(name, CUT, door=True))
        for name in promisers:
            await cluster.nodes[name].trouble([Trouble("sync", delay_s=HELD_S)])
        await asyncio.sleep(ACKS_S)
        cuts = (cluster.nodes[name].cut_power("lose", step.seed) for name in promisers)
        cluster.nodes[leader.node].kill()
        found = await asyncio.gather(*cuts)
        await cluster.nodes[leader.node].ended()
        for name in away:
            # What the leader had sent them would otherwise be passed on when the cut ends, by a
            # link that held it: nothing would be lost, whatever had been promised too early.
            for proxy in cluster.proxies_of(name):
                proxy.reset()
        event.happened = all(each.get("unsynced") for each in found)
        event.note = f"unsynced: {[each.get('unsynced') for each in found]}"
    for name in promisers:
        cluster.nodes[name].begin()
    await _led_without(world, leader.node, leader.term)
    await asyncio.sleep(ACKS_S)
    cluster.nodes[leader.node].begin()
    await cluster.settled(WELL_S)


async def voted(world: World, step: Step, event: Event, random: Random) -> None:
    """A voter loses its power while its vote is not durable; nobody may have got that vote.

    The leader is killed, the voter's vote takes long. If a candidate leads by that vote already,
    it is stopped before it can tell of its term, and the others elect without it.
    """
    del random
    cluster = world.cluster
    await cluster.settled(WELL_S)
    leader = await cluster.leader(WELL_S)
    others = [name for name in cluster.names if name != leader.node]
    voters, candidate = others[:-1], cluster.nodes[others[-1]]
    event.target = f"{', '.join(voters)} for {candidate.node}"
    for name in voters:
        await cluster.nodes[name].trouble([Trouble("sync", delay_s=HELD_S, path="hard.state")])
    cluster.nodes[leader.node].kill()
    await cluster.nodes[leader.node].ended()
    until = world.now() + HELD_S - 0.5
    while world.now() < until:
        view = await world.look()
        if any(each.role == LEADS and each.term > leader.term for each in view.nodes):
            break
        await asyncio.sleep(LOOK_S)
    cuts = [cluster.nodes[name].cut_power("lose", step.seed) for name in voters]
    candidate.pause()
    try:
        found = await asyncio.gather(*cuts)
        event.happened = any(each.get("unsynced") for each in found)
        event.note = f"unsynced: {[each.get('unsynced') for each in found]}"
        for name in (*voters, leader.node):
            cluster.nodes[name].begin()
        await _led_without(world, candidate.node, leader.term)
    finally:
        candidate.resume()
    await cluster.settled(WELL_S)


async def _led_without(world: World, gone: NodeId, term: int) -> None:
    """Wait until another node leads, in a later term."""
    until = world.now() + WELL_S
    while world.now() < until:
        view = await world.look()
        leading = view.leader(0)
        if leading is not None and leading.node != gone and leading.term > term:
            return
        await asyncio.sleep(LOOK_S)
    world.saw("heals", f"nobody leads without {gone}, and a majority runs")


FAULTS: Final = {
    "promise-ack": Fault(
        "promises",
        "power fails between an acknowledgement and the disk",
        acknowledged,
        takes_s=8.0,
        alone=True,
    ),
    "promise-vote": Fault(
        "promises", "power fails between a vote and the disk", voted, takes_s=10.0, alone=True
    ),
}
