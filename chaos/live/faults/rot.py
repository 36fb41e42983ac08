"""Disks that rot, and reads that fail: what a checksum or an error shows, and a peer mends."""

import asyncio
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

from chaos.check.client_history import Event
from chaos.live.bad_files import Trouble
from chaos.live.cluster import LiveNode
from chaos.live.damage import SHARD, Rotten, rot_beside, rot_entries
from chaos.live.faults.disks import reason_of
from chaos.live.faults.fault import WELL_S, Fault, Step, choose, choose_follower, was_ended_by
from chaos.live.world import World
from raftlog.base.errors import RaftlogError, Unavailable
from raftlog.client.routing import ask_status
from raftlog.server.scrubbing import scrub_node

MENDED_S: Final = 10.0
"""For a node to mend what it has found."""
MET_S: Final = 5.0
LOOK_S: Final = 0.1
UNREADABLE: Final = 0.3
"""Which share of the reads fails on a disk that can't be read well."""
AT_START: Final = (".seg", ".seg", ".idx", ".qx", ".tables", "hard.state")
"""Files of which the first reads fail when a node starts; of the log, as often as not."""


async def bit_flip(world: World, step: Step, event: Event, random: Random) -> None:
    """Some bits rot in the log of a node that is down: it finds and mends them."""
    name = await choose_follower(world, step, event)
    node = world.cluster.nodes[name]
    status = await ask_status(node.address.client)
    await _stop(node)
    # Of the later half: what was rotten and is trimmed before somebody looks proves nothing.
    first = status.counters["log_first_index"]
    middle = (first + status.durable) // 2
    rotten = await asyncio.to_thread(rot_entries, node.data, middle, status.durable, random)
    await world.rest(min(step.lasts_s, 1.0))
    node.begin()
    await world.cluster.settled(WELL_S)
    await _scrub(node)
    until = world.now() + MENDED_S
    repaired = 0
    while rotten and not repaired and world.now() < until:
        counters = (await ask_status(node.address.client)).counters
        repaired = counters.get("entries_repaired", 0)
        await asyncio.sleep(LOOK_S)
    event.happened = repaired > 0
    event.note = f"a bit in each of the entries {rotten}, {repaired} repaired"
    await world.cluster.settled(WELL_S)


async def bit_flip_beside(world: World, step: Step, event: Event, random: Random) -> None:
    """A bit rots in what stands beside the log of a node that is down: it mends that."""
    name = await choose_follower(world, step, event)
    node = world.cluster.nodes[name]
    await _until_there_is(world, node.data / SHARD / "index", ".qx")
    await _stop(node)
    rotten = await asyncio.to_thread(rot_beside, node.data, random)
    await world.rest(min(step.lasts_s, 1.0))
    node.begin()
    await world.cluster.settled(WELL_S)
    await _scrub(node)
    with suppress(TimeoutError):
        async with asyncio.timeout(MENDED_S):
            await _until_mended(rotten)
    ends = {each.path.name: _end_of(each) for each in rotten}
    event.happened = len(rotten) > 1 and set(ends.values()) == {"mended"}
    event.note = ", ".join(f"{name}: {end}" for name, end in ends.items())
    await world.cluster.settled(WELL_S)


async def _until_there_is(world: World, directory: Path, suffix: str) -> None:
    """Wait for what a node that was just made has yet to write, but not for ever."""
    until = world.now() + MENDED_S
    while not _has(directory, suffix) and world.now() < until:  # noqa: ASYNC110  (files)
        await asyncio.sleep(LOOK_S)


def _has(directory: Path, suffix: str) -> bool:
    return any(directory.rglob(f"*{suffix}"))


async def _until_mended(rotten: list[Rotten]) -> None:
    for each in rotten:
        while each.is_there and not each.is_mended:  # noqa: ASYNC110  (another process mends it)
            await asyncio.sleep(LOOK_S)


def _end_of(rotten: Rotten) -> str:
    if rotten.is_mended:
        return "mended"
    return "still rotten" if rotten.is_there else "trimmed"


async def _stop(node: LiveNode) -> None:
    node.kill()
    await node.ended()


async def _scrub(node: LiveNode) -> None:
    """Let a node look for damage now; what it finds late it has found."""
    with suppress(RaftlogError):
        await scrub_node(node.address.client, 0, MENDED_S)


async def _keep_scrubbing(node: LiveNode) -> None:
    while True:
        await _scrub(node)
        await asyncio.sleep(LOOK_S)


async def read_error(world: World, step: Step, event: Event, random: Random) -> None:
    """Reads of a node's files fail when it starts: it starts all the same, or says so."""
    await world.cluster.settled(WELL_S)
    name = await choose(world, step, event)
    node = world.cluster.nodes[name]
    event.target = name
    await _stop(node)
    node.excused = True
    drawn = random.sample(AT_START, len(AT_START))
    file = next(each for each in drawn if _has(node.data / SHARD, each))
    # Of the two copies of term and vote one is enough, and both are what nobody can do without.
    times = 1 if file == "hard.state" else random.randint(1, 3)
    trouble = Trouble("read", "EIO", times=times, path=file)
    node.begin([trouble])
    until = world.now() + MET_S
    hits = 0
    while node.running and not hits and world.now() < until:
        hits = (await node.order({"hits": True})).get(trouble.name, 0)
        await asyncio.sleep(LOOK_S)
    event.note = f"{hits} reads of {file} failed"
    await _judge(world, node, event, met=hits > 0)


async def unreadable(world: World, step: Step, event: Event, random: Random) -> None:
    """For a while a share of all reads fails under a node that runs, and looks at everything."""
    del random
    await world.cluster.settled(WELL_S)
    name = await choose(world, step, event)
    node = world.cluster.nodes[name]
    event.target = name
    before = await node.order({"hit_files": True})
    node.excused = True
    await node.trouble([Trouble("read", "EIO", path=f"/{SHARD}/", share=UNREADABLE)])
    looking = asyncio.ensure_future(_keep_scrubbing(node))
    try:
        await world.rest(step.lasts_s)
        until = world.now() + MET_S
        now = await node.order({"hit_files": True})
        while node.running and now == before and world.now() < until:
            await asyncio.sleep(LOOK_S)
            now = await node.order({"hit_files": True})
    finally:
        looking.cancel()
        await node.trouble(())
    met = {file: now[file] - before.get(file, 0) for file in now}
    event.note = ", ".join(f"{count} reads of {file} failed" for file, count in met.items())
    await _judge(world, node, event, met=any(met.values()))


async def _judge(world: World, node: LiveNode, event: Event, *, met: bool) -> None:
    """Wait until the node is whole, or has ended by what it met, said so, and is whole again."""
    until = world.now() + WELL_S
    while node.running and world.now() < until:
        with suppress(Unavailable):
            await world.cluster.settled(MET_S)
            break
    if not node.running:
        event.note = node.why()
        await node.ended()
        met = was_ended_by(world, node, reason_of("EIO"))
        node.begin()
    event.happened = met
    node.excused = False
    await world.cluster.settled(WELL_S)


FAULTS: Final = {
    "read-error": Fault(
        *("disk", "EIO of reads when a node starts", read_error),
        takes_s=6.0,
        needs_layer=True,
        alone=True,
    ),
    "unreadable": Fault(
        *("disk", "EIO of a share of all reads of a node that runs", unreadable),
        takes_s=6.0,
        needs_layer=True,
        alone=True,
    ),
    "bit-flip": Fault(
        *("disk", "bits rot in the log of a stopped node", bit_flip), takes_s=7.0, alone=True
    ),
    "bit-flip-beside": Fault(
        *("disk", "bits rot in the other files of a stopped node", bit_flip_beside),
        takes_s=7.0,
        alone=True,
    ),
}
