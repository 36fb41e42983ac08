"""What the disks of a run's nodes have in the end: scrubbed, then compared pair by pair.

Comparing what is not there proves nothing, and neither does an entry that is damaged on a disk. So
the nodes are brought to write files of one index, and are told to look for damage, before they
end; what is missing or damaged after that is an anomaly like a difference.
"""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from chaos.check.same_files import NAME
from chaos.live.faults.fault import WELL_S
from chaos.live.node import RANGE_POSTINGS
from chaos.live.world import World
from raftlog.base.errors import RaftlogError
from raftlog.server.comparison import ShardComparison, compare_directories
from raftlog.server.scrubbing import scrub_node
from raftlog.testing.processes import NodeAddress

SEALS: Final = "seals"
"""A topic whose records nobody reads: so many that every node cuts its index."""
LOOK_S: Final = 0.1
RANGES: Final = "index/*.qx"
SNAPSHOTS: Final = "snapshot/*.tables"


class Compared(msgspec.Struct, frozen=True):
    """What was alike, of that pair of nodes which had the least of it in common."""

    entries: int = 0
    ranges: int = 0
    snapshots: int = 0


async def write_files(world: World) -> None:
    """Let every node write an index range and a snapshot of one and the same index.

    A node that is busy leaves snapshots out, each another one; nobody is busy now.
    """
    try:
        async with world.client() as client:
            await client.topics.create(SEALS, queues=1)
            for number in range(RANGE_POSTINGS + 1):
                await client.send(SEALS, b"%d" % number)
    except RaftlogError as error:
        world.saw("heals", "nothing is wrong any more, and nothing can be sent", repr(error))
        return
    first, *others = (node.data for node in world.cluster.nodes.values())
    with suppress(TimeoutError):  # what is missing then is told by the comparison
        async with asyncio.timeout(WELL_S):
            while not all(_in_common(first, other, SNAPSHOTS) for other in others):  # noqa: ASYNC110  (files)
                await asyncio.sleep(LOOK_S)


async def scrub(world: World) -> int:
    """Let every node look for damage that nobody has met, and mend it; return what was found."""

    async def scrub_one(address: NodeAddress) -> int:
        try:
            return (await scrub_node(address.client, 0, WELL_S)).found
        except RaftlogError as error:
            world.saw("heals", f"{address.node} can't be scrubbed in the end", repr(error))
            return 0

    return sum(await asyncio.gather(*map(scrub_one, world.cluster.addresses)))


def compare_all(world: World) -> Compared:
    """Compare every node's directory with the first one's (ruling 27)."""
    first, *others = (node.data for node in world.cluster.nodes.values())
    pairs = [_compare(world, first, other) for other in others]
    return Compared(
        *(min(getattr(pair, name) for pair in pairs) for name in Compared.__struct_fields__)
    )


def _compare(world: World, first: Path, other: Path) -> Compared:
    both = f"{first.name} and {other.name}"
    try:
        found = compare_directories(str(first), str(other))
    except RaftlogError as error:
        world.saw(NAME, f"{both} can't be compared", str(error))
        return Compared()
    pair = Compared(
        sum(shard.entries for shard in found.shards),
        len(_in_common(first, other, RANGES)),
        len(_in_common(first, other, SNAPSHOTS)),
    )
    for shard in found.shards:
        _judge(world, both, shard)
    for name in Compared.__struct_fields__:
        if not getattr(pair, name):
            world.saw(NAME, f"{both} have no {name} in common that could be compared")
    return pair


def _judge(world: World, both: str, shard: ShardComparison) -> None:
    for each in shard.differences:
        world.saw(NAME, f"{both} differ: {each.what}", each.first, each.second)
    if shard.damaged:
        text = f"{both}: {shard.damaged} entries are damaged on one of them after a scrub"
        world.saw(NAME, text)


def _in_common(first: Path, other: Path, pattern: str) -> set[str]:
    """Return the names, with their folders, of files of one kind that both have."""
    names = [
        {str(path.relative_to(each)) for path in each.glob(f"shards/*/{pattern}")}
        for each in (first, other)
    ]
    return names[0] & names[1]
