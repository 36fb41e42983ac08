"""Power that fails, and disks that are slow, full, sick and rotten."""

import asyncio
import errno
import os
from random import Random
from typing import Final

from chaos.check.client_history import Event
from chaos.live.bad_files import Trouble
from chaos.live.cluster import LiveNode
from chaos.live.faults.fault import WELL_S, Do, Fault, Step, choose, mark_loss, was_ended_by
from chaos.live.journal import KINDS
from chaos.live.world import World

MET_S: Final = 5.0
"""How long it is waited for until a node meets what is wrong with its disk."""
LAST_MOMENT_S: Final = 0.2
"""What was met in the last moment may still have to end its node."""


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
    """All nodes lose their power at once."""
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
        for trouble in troubles:
            what = f"{trouble.operation} {trouble.error or 'slow'}"
            if now.get(what, 0) > before.get(what, 0):
                return True
        await asyncio.sleep(0.05)
    return False


async def read_error(world: World, step: Step, event: Event, random: Random) -> None:
    """Reads of a node's log fail: it starts on that disk, and heals from its peers."""
    await world.cluster.settled(WELL_S)
    name = await choose(world, step, event)
    node = world.cluster.nodes[name]
    event.target = name
    node.kill()
    await node.ended()
    node.excused = True
    # What the page cache has is read without the disk, so it is met while the log is recovered.
    trouble = Trouble("read", "EIO", times=random.randint(1, 3), path=".seg")
    node.begin([trouble])
    event.happened = await _until_met(world, node, (trouble,), {})
    if not node.running:
        event.note = node.why()
        await node.ended()
        event.happened = was_ended_by(world, node, reason_of("EIO"))
        node.begin()
    else:
        event.note = "a read failed" if event.happened else "nothing was read from the disk"
    node.excused = False
    await world.cluster.settled(WELL_S)


async def bit_flip(world: World, step: Step, event: Event, random: Random) -> None:
    """Some bits rot in the log of a node that is down: what a checksum shows."""
    await world.cluster.settled(WELL_S)
    leader = (await world.cluster.leader(WELL_S)).node
    name = random.choice([each for each in world.cluster.names if each != leader])
    node = world.cluster.nodes[name]
    event.target = name
    node.kill()
    await node.ended()
    segments = sorted((node.data / "shards/0/log").glob("*.seg"))
    flipped = 0
    if segments:
        path = random.choice(segments)
        content = bytearray(path.read_bytes())
        used = len(content.rstrip(b"\0"))
        for _ in range(random.randint(1, 4) if used > 8192 else 0):
            content[random.randrange(4096, used)] ^= 1 << random.randrange(8)
            flipped += 1
        path.write_bytes(content)
    event.happened = flipped > 0
    event.note = f"{flipped} bits"
    await world.rest(min(step.lasts_s, 1.0))
    node.begin()
    await world.cluster.settled(WELL_S)


FAULTS: Final = {
    "power": Fault("power", "one node loses its power", power, weight=4),
    "power-all": Fault(
        "power", "all nodes lose their power at once", power_all, weight=2, alone=True
    ),
    "sync-error": Fault(
        "disk", "EIO of a sync", _sick(Trouble("sync", "EIO", times=1)), needs_layer=True
    ),
    "write-error": Fault(
        "disk", "EIO of a write", _sick(Trouble("write", "EIO", times=1)), needs_layer=True
    ),
    "no-space": Fault(
        "disk", "ENOSPC of writes", _sick(Trouble("write", "ENOSPC", times=3)), needs_layer=True
    ),
    "slow-disk": Fault(
        "disk",
        "syncs and writes take long",
        _sick(Trouble("sync", delay_s=0.15), Trouble("write", delay_s=0.01)),
        needs_layer=True,
    ),
    "read-error": Fault(
        "disk", "EIO of reads of the log", read_error, needs_layer=True, takes_s=6.0, alone=True
    ),
    "bit-flip": Fault(
        "disk", "bits rot in the log of a stopped node", bit_flip, takes_s=6.0, alone=True
    ),
}
