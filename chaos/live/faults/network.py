"""Links that are cut, deaf, slow, lossy, out of order, refused, reset and half open."""

from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import Final

from chaos.check.client_history import Event
from chaos.live.conditions import (
    CLEAR,
    CUT,
    DEAF,
    MUTE,
    REFUSED,
    Condition,
    Way,
    both_ways,
    slow,
)
from chaos.live.faults.fault import WELL_S, Do, Fault, Step, choose, mark_loss, whom
from chaos.live.proxy import Proxy
from chaos.live.world import World
from raftlog.base.ids import NodeId

CONNECT_S: Final = 5.0
LOOK_S: Final = 0.05
REFUSED_S: Final = 0.5
"""Long enough for somebody to connect again."""
LOST: Final = (0.02, 0.3)
LOSSY_S: Final = 1.0
"""Long enough for something to be lost, or overtaken."""
TEAR_S: Final = 1.0
"""Nodes have something to say to one another at least that often."""
JITTER_S: Final = (0.05, 0.4)


def _around(condition_of: Callable[[Random], Condition], *, door: bool) -> Do:
    """All links of one node are so for a while."""

    async def do(world: World, step: Step, event: Event, random: Random) -> None:
        cluster = world.cluster
        name = await choose(world, step, event)
        condition = condition_of(random)
        if condition.there.cut or condition.back.cut:
            await mark_loss(world, event, name, kills=False)
        event.target = name
        carried = _bytes_waiting(cluster.proxies_of(name))
        with cluster.around(name, condition, door=door):
            await world.rest(step.lasts_s)
            _prove(event, cluster.proxies_of(name), carried)

    return do


def _prove(event: Event, proxies: list[Proxy], before: int) -> None:
    """The fault happened if bytes met it: they waited, or were late."""
    met = _bytes_waiting(proxies) - before
    event.happened = met > 0
    event.note = f"{met} pieces were kept waiting"


def _bytes_waiting(proxies: list[Proxy]) -> int:
    return sum(proxy.delayed for proxy in proxies)


async def one_link(world: World, step: Step, event: Event, random: Random) -> None:
    """Two nodes can't reach each other; both reach everybody else."""
    cluster = world.cluster
    one = (await cluster.leader(WELL_S)).node  # followers have nothing to tell each other
    others = [name for name in cluster.names if name != one]
    free = world.free()
    other = whom(step).choice([name for name in others if name in free] or others)
    event.target = f"{one} - {other}"
    proxies = [cluster.links[one, other], cluster.links[other, one]]
    before = _bytes_waiting(proxies)
    with cluster.between(one, other, random.choice((CUT, DEAF, MUTE))):
        await world.rest(step.lasts_s)
        _prove(event, proxies, before)


async def halves(world: World, step: Step, event: Event, random: Random) -> None:
    """A minority is cut off, together."""
    del random
    cluster = world.cluster
    leader = await cluster.leader()
    free = world.free()
    minority = whom(step).sample(free, min(len(free), (len(cluster.names) - 1) // 2))
    world.take(event, *minority)
    await mark_loss(world, event, leader.node, kills=False)
    if leader.node not in minority:
        event.lost_term = 0
    event.target = ", ".join(minority)
    pairs: list[tuple[NodeId, NodeId]] = [
        (one, other) for one in minority for other in cluster.names if other not in minority
    ]
    proxies = [
        cluster.links[pair] for one, other in pairs for pair in ((one, other), (other, one))
    ]
    before = _bytes_waiting(proxies)
    with ExitStack() as cuts:
        for one, other in pairs:
            cuts.enter_context(cluster.between(one, other, CUT))
        await world.rest(step.lasts_s)
        _prove(event, proxies, before)


async def reset(world: World, step: Step, event: Event, random: Random) -> None:
    """All connections of a node are reset, again and again for a moment."""
    name = await choose(world, step, event)
    event.target = name
    count = 0
    for _ in range(random.randint(1, 5)):
        count += sum(proxy.reset() for proxy in world.cluster.proxies_of(name))
        await world.rest(min(step.lasts_s, 1.0) / 5)
    event.happened = count > 0
    event.note = f"{count} connections were reset"


async def half_open(world: World, step: Step, event: Event, random: Random) -> None:
    """A node's end of every connection is gone, and the other end is not told."""
    del random
    cluster = world.cluster
    name = await choose(world, step, event)
    event.target = name
    count, until = 0, world.now() + CONNECT_S
    while not count and world.now() < until:  # it may be starting yet
        count = cluster.doors[name].forget()
        for (_, dialled), proxy in cluster.links_of(name).items():
            count += proxy.forget(target=dialled == name)
        await world.rest(LOOK_S)
    event.happened = count > 0
    event.note = f"{count} connections were half open"
    await world.rest(step.lasts_s)
    for proxy in cluster.proxies_of(name):
        proxy.reset()


async def refused(world: World, step: Step, event: Event, random: Random) -> None:
    """A node's connections are reset, and nobody can connect to it, nor it to anybody."""
    del random
    cluster = world.cluster
    name = await choose(world, step, event)
    event.target = name
    proxies = cluster.proxies_of(name)
    with cluster.around(name, REFUSED, door=True):
        count = sum(proxy.reset() for proxy in proxies)
        before = sum(proxy.resets for proxy in proxies)
        await world.rest(max(step.lasts_s, REFUSED_S))
        tried = sum(proxy.resets for proxy in proxies) - before
    event.happened = tried > 0
    event.note = f"{count} connections were reset, {tried} new ones refused"


async def lossy(world: World, step: Step, event: Event, random: Random) -> None:
    """What a node sends and gets is lost in part, and sent again; then connections are torn."""
    cluster = world.cluster
    way = Way(lost=random.uniform(*LOST))
    name = await choose(world, step, event)
    event.target = name
    proxies = cluster.proxies_of(name)
    resent, torn = (sum(getattr(each, what) for each in proxies) for what in ("resent", "torn"))
    with cluster.around(name, both_ways(way), door=True):
        await world.rest(max(step.lasts_s, LOSSY_S))
        try:
            for proxy in proxies:
                proxy.tear()
            await world.rest(TEAR_S)
        finally:
            for proxy in proxies:
                proxy.tear(next_piece=False)
    resent = sum(each.resent for each in proxies) - resent
    torn = sum(each.torn for each in proxies) - torn
    event.happened = resent > 0 and torn > 0
    event.note = f"{resent} pieces were lost, {torn} connections ended within a frame"


async def reorder(world: World, step: Step, event: Event, random: Random) -> None:
    """Every connection of a node is late by itself: messages overtake those of another one."""
    cluster = world.cluster
    way = Way(jitter_s=random.uniform(*JITTER_S))
    name = await choose(world, step, event)
    event.target = name
    links = list(cluster.links_of(name).values())
    before = sum(proxy.overtaken for proxy in links)
    with cluster.around(name, both_ways(way), door=True):
        await world.rest(max(step.lasts_s, LOSSY_S))
        overtaken = sum(proxy.overtaken for proxy in links) - before
    event.happened = overtaken > 0
    event.note = f"{overtaken} pieces between nodes were overtaken"


def _late(random: Random) -> Condition:
    return slow(random.uniform(0.005, 0.2))


def _thin(random: Random) -> Condition:
    return slow(0.0, random.randint(20_000, 500_000))


def _always(condition: Condition) -> Callable[[Random], Condition]:
    return lambda _: condition


def _one_way_late(random: Random) -> Condition:
    return Condition(Way(delay_s=random.uniform(0.05, 0.4)), CLEAR.back)


FAULTS: Final = {
    "cut-off": Fault("network", "a node reaches nobody", _around(_always(CUT), door=True), 4),
    "cut-peers": Fault(
        "network", "a node reaches clients but no peer", _around(_always(CUT), door=False)
    ),
    "deaf": Fault("network", "a node hears no peer", _around(_always(DEAF), door=False)),
    "mute": Fault("network", "no peer hears a node", _around(_always(MUTE), door=False)),
    "one-link": Fault("network", "two nodes can't reach each other", one_link),
    "halves": Fault("network", "a minority is cut off", halves),
    "late": Fault("network", "a node's links are late", _around(_late, door=True)),
    "late-one-way": Fault(
        "network", "what a node gets is late", _around(_one_way_late, door=True)
    ),
    "thin": Fault("network", "a node's links are thin", _around(_thin, door=False)),
    "lossy": Fault("network", "what a node sends and gets is lost in part, and resent", lossy),
    "reorder": Fault("network", "messages of a node's connections overtake each other", reorder),
    "refused": Fault("network", "a node's connections are reset, and new ones refused", refused),
    "reset": Fault("network", "a node's connections are reset", reset),
    "half-open": Fault("network", "a node's connections are half open", half_open),
}
