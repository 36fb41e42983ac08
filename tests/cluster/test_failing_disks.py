"""A disk that fills up, and one that rots, under one of three nodes.

The first ends its node: a failed write is never tried again (R2). The second
is healed: an entry that is damaged below the durable watermark is fetched from
a peer that has it (R3). In both cases the others go on.
"""

import asyncio
import resource
import struct
from collections.abc import Callable
from mmap import mmap
from pathlib import Path
from typing import Final

import pytest

from raftlog.base.entry import FRAME_MAGIC, FRAME_VERSION, EntryKind
from raftlog.storage.room import RESERVE
from raftlog.testing.bench.target import Target
from raftlog.testing.processes import NodeProcess
from tests.cluster.cluster_under_load import (
    Writer,
    address_of,
    compare_every_node,
    ended,
    leader_of,
    running,
    status_when,
    until_durable,
)

pytestmark = pytest.mark.asyncio

LOG: Final = "shards/0/log"
REFUSAL: Final = "File too large"
ENTRY: Final = struct.pack("<HBB", FRAME_MAGIC, FRAME_VERSION, EntryKind.COMMANDS)
Place = Callable[[mmap, int], int]
"""Where the bit is that flips, given where a record's value is."""


def data_of(directory: Path, node: NodeProcess) -> Path:
    """Return where a node keeps its log."""
    return directory / "data" / node.node / LOG


async def follower_of(target: Target) -> NodeProcess:
    """Return a process that does not lead now."""
    leader = await leader_of(target)
    return next(node for node in target.own().nodes.values() if node.node != leader.node)


@pytest.mark.long
@pytest.mark.parametrize("role", ["leader", "follower"])
async def test_a_node_whose_disk_is_full_ends_and_says_so(tmp_path: Path, role: str) -> None:
    """A limit on the size of its files stands for a full disk: the next write fails."""
    async with running(tmp_path) as target:
        async with Writer(target.client) as writer:
            await writer.more(100)
            node = await (leader_of if role == "leader" else follower_of)(target)
            async with asyncio.timeout(30):
                # Made soon after the start, and not what is meant to meet the limit.
                while not (tmp_path / "data" / node.node / RESERVE).exists():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            assert await ended(node) == 1
            await writer.more(200)
            words = node.last_words()
            said = [line for line in words.splitlines() if REFUSAL in line]
            assert len(said) == 1, words
            # Which file meets the limit first depends on the moment: a segment, or durable.mark.
            assert str(data_of(tmp_path, node).parent) in said[0]
            assert "Traceback" not in words
            node.start()  # there is room again
            await writer.more(50)
        await compare_every_node(target, writer)


def body(data: mmap, at: int) -> int:
    """The bytes of the record."""
    del data
    return at + 20


def header(data: mmap, at: int) -> int:
    """The header of the entry that the record lies in: its term."""
    return data.rfind(ENTRY, 0, at) + 8


@pytest.mark.long
@pytest.mark.parametrize("place", [body, header])
async def test_a_flipped_bit_below_the_watermark_is_repaired(tmp_path: Path, place: Place) -> None:
    """Nobody but the replica itself can notice; nobody but a peer can mend it."""
    async with running(tmp_path) as target:
        async with Writer(target.client, in_flight=4) as writer:
            await writer.more(400)
            node = await follower_of(target)
            # What was acknowledged is on two disks, perhaps not on this one yet.
            victim = sorted(writer.acked.items())[200][1]
            applied = (await target.client.status()).applied
            await until_durable(address_of(target, node.node), applied)
            node.kill()
            await ended(node)
            _flip(data_of(tmp_path, node), victim, place)
            await writer.more(50)
            node.start()
            await writer.more(50)
        address = address_of(target, node.node)
        status = await status_when(address, "faulty_entries_size", 0, 0)
        assert status.counters["entries_repaired"] >= 1
        await compare_every_node(target, writer)
        assert node.running


def _flip(log: Path, value: bytes, place: Place) -> None:
    """Flip one bit in, or near, the only copy of ``value``."""
    (segment,) = log.glob("*.seg")
    with segment.open("r+b") as file, mmap(file.fileno(), 0) as data:
        at = data.find(value)
        assert at > 0
        assert data.find(value, at + 1) == -1
        data[place(data, at)] ^= 0x10
