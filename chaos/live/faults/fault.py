"""What a fault is: it hits, lasts, is repaired, and shows that it happened.

The fault atlas (ruling 16): what silently takes back something durable hits one replica, and only
while everything committed is on a majority without it. Such faults wait for ``settled`` first.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import msgspec

from chaos.check.client_history import Event
from chaos.live.world import World
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import NodeId

WELL_S: Final = 60.0
"""For a cluster that nothing is wrong with any more to be whole again."""


class Step(msgspec.Struct, frozen=True):
    """One line of a schedule.

    Attributes:
        kind: Which fault.
        after_s: How long the cluster is left alone before.
        lasts_s: How long it lasts, if it is one that lasts.
        seed: Draws everything else: whom it hits, which bytes.
    """

    kind: str
    after_s: float
    lasts_s: float
    seed: int


Do = Callable[[World, Step, Event, Random], Awaitable[None]]
"""Does it all, from the blow to the repair, and fills in the event."""


class Fault(msgspec.Struct, frozen=True):
    """One kind of fault."""

    group: str
    """What ``--faults`` names."""
    text: str
    do: Do
    weight: int = 2
    """How often a random schedule has it, beside others."""
    nodes_min: int = 3


async def strike(world: World, step: Step, fault: Fault) -> Event:
    """Do what one step says, and note it."""
    event = Event(step.kind, world.now())
    world.events.append(event)
    world.current = event
    try:
        await fault.do(world, step, event, Random(step.seed))
    except RaftlogError as error:
        event.note = f"{event.note}; {error}" if event.note else str(error)
        world.saw("heals", f"{step.kind} on {event.target or 'nobody'}: {error}")
    finally:
        event.until = world.now()
        world.current = None
    return event


async def choose(world: World, random: Random) -> NodeId:
    """Choose whom to hit: as often the leader as anybody else."""
    leader = (await world.cluster.leader(WELL_S)).node
    others = [node for node in world.cluster.names if node != leader]
    return leader if random.random() < 0.5 else random.choice(others)


async def mark_loss(world: World, event: Event, node: NodeId, *, kills: bool) -> None:
    """Note that ``node`` is hit now; if it leads, its term ends with that."""
    leader = world.cluster.view.leader(0)
    event.at = world.now()
    event.target = event.target or node
    if leader is not None and leader.node == node:
        event.lost_term = leader.term
        event.kills = kills
