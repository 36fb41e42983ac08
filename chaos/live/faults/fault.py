"""What a fault is: it hits, lasts, is repaired, and shows that it happened.

Two may go on at a time, on different nodes: then a majority may be away for a while, and comes
back. Those that need the cluster whole, or take most of it, come alone.

The fault atlas (ruling 16): what silently takes back something durable hits one replica, and only
while everything committed is on a majority without it. Such faults wait for ``settled`` first.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Final

import msgspec

from chaos.check.client_history import Event
from chaos.live.cluster import LiveNode
from chaos.live.world import World
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import NodeId
from raftlog.raft.precedence import BEHIND_ENTRIES
from raftlog.server.observation import ClusterView, NodeView

WELL_S: Final = 60.0
"""For a cluster that nothing is wrong with any more to be whole again."""


class Step(msgspec.Struct, frozen=True):
    """One line of a schedule.

    Attributes:
        kind: Which fault.
        after_s: How long the cluster is left alone before.
        lasts_s: How long it lasts, if it is one that lasts.
        seed: Draws everything else: whom it hits, and, apart from that, how.
        beside: Another one, ``after_s`` after this one has begun.
    """

    kind: str
    after_s: float
    lasts_s: float
    seed: int
    beside: "Step | None" = None


Do = Callable[[World, Step, Event, Random], Awaitable[None]]
"""Does it all, from the blow to the repair, and fills in the event."""


class Fault(msgspec.Struct, frozen=True):
    """One kind of fault."""

    group: str
    """What ``--faults`` names."""
    text: str
    do: Do
    weight: int = 1
    """How often a random schedule has it, beside others."""
    takes_s: float = 1.0
    """How long it takes about, beside what a step lasts: to wait, to repair, to be whole."""
    needs_layer: bool = False
    """Only the suite's own file layer can do it."""
    alone: bool = False
    """Nothing else is wrong meanwhile."""


async def strike(world: World, step: Step, fault: Fault) -> Event:
    """Do what one step says, and note it."""
    event = Event(step.kind, world.now())
    world.events.append(event)
    world.current.append(event)
    if len(world.current) > 1:
        for each in world.current:
            each.beside = True
    try:
        await fault.do(world, step, event, Random(step.seed))
    except RaftlogError as error:
        event.note = f"{event.note}; {error}" if event.note else str(error)
        world.saw("heals", f"{step.kind} on {event.target or 'nobody'}: {error}")
    finally:
        event.until = world.now()
        world.over(event)
    return event


async def strike_both(world: World, step: Step, faults: Mapping[str, Fault]) -> None:
    """Do what a step says, and what is beside it."""
    striking = [strike(world, step, faults[step.kind])]
    if step.beside is not None:
        striking.append(_strike_later(world, step.beside, faults[step.beside.kind]))
    await asyncio.gather(*striking)


async def _strike_later(world: World, step: Step, fault: Fault) -> Event:
    await world.rest(step.after_s)
    return await strike(world, step, fault)


def whom(step: Step) -> Random:
    """Return what draws whom a step hits.

    Not the stream that draws how: who is there to be drawn differs between two runs of a
    schedule, and what else is drawn must not differ with it.
    """
    return Random(f"whom {step.seed}")


async def choose(world: World, step: Step, event: Event) -> NodeId:
    """Choose whom to hit, and take it: as often the leader as anybody else."""
    random = whom(step)
    leader = (await world.cluster.leader(WELL_S)).node
    free = world.free()
    others = [node for node in free if node != leader]
    name = leader if leader in free and random.random() < 0.5 else random.choice(others)
    world.take(event, name)
    return name


async def choose_follower(world: World, step: Step, event: Event) -> NodeId:
    """Choose one that does not lead, when the cluster is whole; nothing else is wrong then."""
    await world.cluster.settled(WELL_S)
    leader = (await world.cluster.leader(WELL_S)).node
    name = whom(step).choice([each for each in world.cluster.names if each != leader])
    event.target = name
    return name


def was_ended_by(world: World, node: LiveNode, reason: str) -> bool:
    """Whether a node that has ended gave ``reason``; any other end is an anomaly.

    Whoever hits a node so that it may end by itself excuses it meanwhile, and asks this then.
    ``reason`` is part of the sentence that it has to end with; "": it may not end at all. A
    traceback is no sentence: it has "Errno", or an exception's name.
    """
    why = node.why()
    sentence = why.removeprefix("exit code 1: ")
    is_told = "Errno" not in sentence and not re.match(r"\w*(Error|Exception)\b", sentence)
    if reason and reason in sentence and is_told and sentence != why:
        return True
    text = f"{node.node} ended by itself: {node.ending()}"
    world.saw("nodes_stay_up", text, why, *node.last_words().splitlines())
    return False


async def mark_loss(world: World, event: Event, node: NodeId, *, kills: bool) -> None:
    """Note that ``node`` is hit now; if it leads, its term ends with that."""
    leader = world.cluster.view.leader(0)
    event.at = world.now()
    event.target = event.target or node
    if leader is not None and leader.node == node:
        event.lost_term = leader.term
        event.beside = event.beside or not _has_all(world.cluster.view, leader)
        event.kills = kills


def _has_all(view: ClusterView, leader: NodeView) -> bool:
    """Whether every node is there, follows, and has applied what the others have.

    One that was just started has yet to catch up.
    """
    return not view.missing and all(
        each.leader == leader.node and leader.commit - each.applied <= BEHIND_ENTRIES
        for each in view.nodes
    )
