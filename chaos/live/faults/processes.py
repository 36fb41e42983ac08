"""Processes that are killed, stand still, are started again, and hand over."""

import asyncio
from contextlib import suppress
from random import Random
from typing import Final

from chaos.check.client_history import Event
from chaos.live.faults.fault import WELL_S, Fault, Step, choose, mark_loss
from chaos.live.world import World
from raftlog.base.errors import RaftlogError
from raftlog.base.ids import NodeId
from raftlog.client.routing import ask_status
from raftlog.server.draining import drain_node


async def _back(world: World, *names: NodeId) -> None:
    """Start nodes again."""
    for name in names:
        node = world.cluster.nodes[name]
        await node.ended()
        node.begin()


async def kill(world: World, step: Step, event: Event, random: Random) -> None:
    """SIGKILL."""
    del random
    name = await choose(world, step, event)
    node = world.cluster.nodes[name]
    await mark_loss(world, event, name, kills=True)
    node.kill()
    code = await node.ended()
    event.happened = code == -9
    event.note = node.ending()
    await world.rest(step.lasts_s)
    await _back(world, name)


async def kill_most(world: World, step: Step, event: Event, random: Random) -> None:
    """SIGKILL a majority at once."""
    names = world.cluster.names
    hit = random.sample(names, len(names) // 2 + 1)
    event.target = ", ".join(hit)
    for name in hit:
        world.cluster.nodes[name].kill()
    codes = [await world.cluster.nodes[name].ended() for name in hit]
    event.happened = codes == [-9] * len(hit)
    event.note = f"{len(hit)} killed"
    await world.rest(min(step.lasts_s, 2.0))
    await _back(world, *hit)


async def pause(world: World, step: Step, event: Event, random: Random) -> None:
    """SIGSTOP, later SIGCONT: its connections stay open and silent."""
    del random
    name = await choose(world, step, event)
    node = world.cluster.nodes[name]
    await mark_loss(world, event, name, kills=False)
    node.pause()
    try:
        await world.rest(step.lasts_s)
        view = await world.cluster.look()
        event.happened = any(each.node == name for each in view.missing)
        event.note = "it did not answer" if event.happened else "it answered"
    finally:
        node.resume()


async def restart(world: World, step: Step, event: Event, random: Random) -> None:
    """SIGTERM, then started again."""
    del random
    name = await choose(world, step, event)
    event.target = name
    await _restart(world, event, name)


async def _restart(world: World, event: Event, name: NodeId) -> None:
    node = world.cluster.nodes[name]
    await _until_it_answers(_address(world, name))
    node.terminate()
    code = await node.ended()
    if code != 0:
        world.saw("clean_stop", f"{name} was told to stop: {node.ending()}", node.last_words())
    event.happened = code == 0
    event.note = node.ending()
    node.begin()


async def _until_it_answers(address: str) -> None:
    """Wait for a node that may have just been started.

    Told to stop while Python still reads its program, a process just ends: that proves nothing
    about how a node stops.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(WELL_S):
            while True:
                with suppress(RaftlogError):
                    await ask_status(address)
                    return
                await asyncio.sleep(0.05)


async def rolling_restart(world: World, step: Step, event: Event, random: Random) -> None:
    """Every node after the other, as an upgrade does it: drained, stopped, started, followed."""
    del step
    names = random.sample(world.cluster.names, len(world.cluster.names))
    event.target = ", ".join(names)
    await world.cluster.settled(WELL_S)  # the fault before may have killed one just now
    for name in names:
        address = _address(world, name)
        await drain_node(address, name, WELL_S)
        await _restart(world, event, name)
        await world.cluster.settled(WELL_S)


async def transfer(world: World, step: Step, event: Event, random: Random) -> None:
    """The leader is asked to hand over."""
    del step
    leader = await world.cluster.leader(WELL_S)
    target = random.choice([name for name in world.cluster.names if name != leader.node])
    event.target = f"{leader.node} to {target}"
    async with world.client() as client:
        try:
            await client.transfer_leader(target)
        except RaftlogError as error:  # a target that was just stopped is taken for drained
            event.note = str(error)
            return
    await _until_led_by_another(world, event, leader.term)


async def drain(world: World, step: Step, event: Event, random: Random) -> None:
    """The leader is drained for a while."""
    del random
    leader = await world.cluster.leader(WELL_S)
    event.target = leader.node
    address = _address(world, leader.node)
    await drain_node(address, leader.node, WELL_S)
    try:
        await _until_led_by_another(world, event, leader.term)
        await world.rest(step.lasts_s)
    finally:
        await drain_node(address, leader.node, WELL_S, undo=True)


async def _until_led_by_another(world: World, event: Event, term: int) -> None:
    for _ in range(40):
        leader = await world.cluster.leader(WELL_S)
        if leader.term > term:
            event.happened = True
            event.note = f"{leader.node} leads"
            return
        await asyncio.sleep(0.1)
    event.note = "it was given up"


def _address(world: World, name: NodeId) -> str:
    return next(each.client for each in world.cluster.addresses if each.node == name)


FAULTS: Final = {
    "kill": Fault("process", "SIGKILL of one node", kill, weight=22),
    "kill-most": Fault(
        "process", "SIGKILL of a majority at once", kill_most, weight=2, alone=True
    ),
    "pause": Fault("process", "a node stands still (SIGSTOP)", pause, weight=8),
    "restart": Fault("process", "a node is stopped and started", restart),
    "rolling-restart": Fault(
        "process", "all nodes, one after the other", rolling_restart, takes_s=15.0, alone=True
    ),
    "transfer": Fault("process", "the leader hands over", transfer),
    "drain": Fault("process", "the leader is drained for a while", drain, takes_s=2.0, alone=True),
}
