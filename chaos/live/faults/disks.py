"""Disks that are slow, full and sick, under a node that runs."""

import asyncio
import errno
import os
from random import Random
from typing import Final

from chaos.check.client_history import Event
from chaos.live.bad_files import Trouble
from chaos.live.cluster import LiveNode
from chaos.live.faults.fault import Do, Fault, Step, choose, was_ended_by
from chaos.live.topics import BULK, large
from chaos.live.workloads.sending import noted
from chaos.live.world import World
from raftlog.base.errors import RaftlogError
from raftlog.client.routing import ask_status
from raftlog.wire.schema import client

MET_S: Final = 5.0
"""How long it is waited for until a node meets what is wrong with its disk."""
STALLED_S: Final = 20.0
"""For a node on a full disk to need another segment, longer than it takes to fill one."""
FILLS: Final = 99
"""The lane of what fills one."""
GOES_ON_S: Final = 10.0
"""For a node that waits for room to write again when there is some."""
LOOK_S: Final = 0.05
LAST_MOMENT_S: Final = 0.2
"""What was met in the last moment may still have to end its node."""


def reason_of(error: str) -> str:
    """Return what a node says of an error that ends it ("EIO"); "" for none."""
    return os.strerror(getattr(errno, error)) if error else ""


def _sick(*troubles: Trouble) -> Do:
    """The disk of one node fails until the node ends by that, or has met it; or is slow."""
    reason = next((reason_of(each.error) for each in troubles if each.error), "")

    async def do(world: World, step: Step, event: Event, random: Random) -> None:
        del random
        name = await choose(world, step, event)
        node = world.cluster.nodes[name]
        event.target = name
        node.excused = bool(reason)  # a slow disk ends nobody
        before = await node.order({"hits": True})
        await node.trouble(troubles)
        try:
            met = await _until_met(world, node, troubles, before)
            await world.rest(step.lasts_s if node.running else LAST_MOMENT_S)
        finally:
            await node.trouble(())
        await asyncio.sleep(LAST_MOMENT_S)
        event.note = "it goes on" if node.running else node.why()
        if not node.running:
            await node.ended()
            met = was_ended_by(world, node, reason)
            node.begin()
        event.happened = met
        node.excused = False

    return do


async def _until_met(
    world: World, node: LiveNode, troubles: tuple[Trouble, ...], before: dict[str, int]
) -> bool:
    """Wait until the node has met what is wrong, or has ended."""
    until = world.now() + MET_S
    while node.running and world.now() < until:
        now = await node.order({"hits": True})
        if any(now.get(each.name, 0) > before.get(each.name, 0) for each in troubles):
            return True
        await asyncio.sleep(LOOK_S)
    return False


async def no_space(world: World, step: Step, event: Event, random: Random) -> None:
    """Nothing grows on the disk of one node: it waits, and goes on when there is room.

    What is written over what there is succeeds. So the node must need space to meet it: another
    segment, as every node does after so many bytes; they are sent meanwhile.
    """
    del random
    name = await choose(world, step, event)
    node = world.cluster.nodes[name]
    address = node.address.client
    event.target = name
    starts = node.starts
    await node.trouble([Trouble("grow", "ENOSPC")])
    filling = asyncio.ensure_future(_fill(world))
    try:
        waits_at = await _until_it_waits(world, address)
        filling.cancel()
        await world.rest(step.lasts_s)
    finally:
        filling.cancel()
        await node.trouble(())
    if waits_at is None:
        event.note = "it needed no space" if node.running else node.why()
        return
    went_on = await _until_it_goes_on(world, address, waits_at)
    event.happened = went_on and node.running and node.starts == starts
    event.note = f"waited behind entry {waits_at}, and {'went' if went_on else 'did not go'} on"


async def _fill(world: World) -> None:
    """Send large records, so that every node needs another segment soon; they are kept account of.

    With a key of their own, as the workload that sends such records has others.
    """
    records = world.records[BULK]
    async with world.client() as client:
        while not world.stopping.is_set():
            number = records.begin(FILLS, world.now())
            value = large(records.value(number))
            await noted(world, records, number, client.send(BULK, value, key=b"%d" % FILLS))


async def _until_it_waits(world: World, address: str) -> int | None:
    """Wait until a node waits for its disk; return up to which entry it has all, None if never."""
    until = world.now() + STALLED_S
    while world.now() < until and not world.stopping.is_set():
        status = await _status(address)
        if status is not None and status.counters.get("disk_stalled_size", 0):
            return status.durable
        await asyncio.sleep(LOOK_S)
    return None


async def _until_it_goes_on(world: World, address: str, behind: int) -> bool:
    """Whether a node waits no more, and has made something later durable."""
    until = world.now() + GOES_ON_S
    while world.now() < until:
        status = await _status(address)
        if status is not None and status.durable > behind:
            waits = status.counters.get("disk_stalled_size", 0)
            if not waits:
                return True
        await asyncio.sleep(LOOK_S)
    return False


async def _status(address: str) -> client.NodeStatus | None:
    try:
        return await ask_status(address)
    except RaftlogError:
        return None


FAULTS: Final = {
    "sync-error": Fault(
        "disk", "EIO of a sync", _sick(Trouble("sync", "EIO", times=1)), needs_layer=True
    ),
    "write-error": Fault(
        "disk", "EIO of a write", _sick(Trouble("write", "EIO", times=1)), needs_layer=True
    ),
    "no-space-write": Fault(
        "disk",
        "ENOSPC of writes into space that was there",
        _sick(Trouble("write", "ENOSPC", times=3)),
        needs_layer=True,
    ),
    "no-space": Fault(
        "disk", "a disk is full: nothing on it grows", no_space, takes_s=5.0, needs_layer=True
    ),
    "slow-disk": Fault(
        "disk",
        "syncs and writes take long",
        _sick(Trouble("sync", delay_s=0.15), Trouble("write", delay_s=0.01)),
        needs_layer=True,
    ),
}
