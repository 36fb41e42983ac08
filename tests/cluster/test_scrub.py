"""Damage under a running cluster: found on demand, repaired by its peers, nothing lost."""

import asyncio
from pathlib import Path

import pytest

from raftlog.base.ids import SHARD_ZERO, NodeId
from raftlog.server.app import NodeServer
from raftlog.server.comparison import compare_directories
from raftlog.server.config import load_config
from raftlog.server.formation import form
from raftlog.server.inspection import verify_directory
from raftlog.server.scrubbing import Scrubbed, scrub_node
from raftlog.testing import LocalCluster
from raftlog.testing.processes import config_text, local_addresses
from tests.server.test_inspection import flip, segments

RECORDS = 50


@pytest.mark.long
def test_damage_is_found_by_a_scrub_and_repaired(tmp_path: Path) -> None:
    """Of a follower and of the leader: a flipped bit in a record that nobody reads."""

    async def live() -> list[Scrubbed]:
        found: list[Scrubbed] = []
        async with LocalCluster(tmp_path, nodes=3) as cluster, cluster.client() as client:
            await client.topics.create("orders")
            for number in range(RECORDS):
                await client.send("orders", b"a value that is unique %04d" % number)
            leader = await cluster.leader()
            follower = next(each for each in cluster.nodes if each != leader)
            for node in (follower, leader):
                await rot(cluster, node)
                address = next(a for a in cluster.addresses if a.node == node)
                found.append(await scrub_node(address.client, 0, 60.0))
                told = cluster.nodes[node].log.read_text()
                assert ("is damaged on this disk" in told, "no longer damaged" in told) == (
                    True,
                ) * 2
            reader = client.reader("orders")
            values = [(await anext(reader)).value or b"" for _ in range(RECORDS)]
            assert sorted(values) == [b"a value that is unique %04d" % n for n in range(RECORDS)]
        return found

    async def rot(cluster: LocalCluster, node: NodeId) -> None:
        segment = segments(directory_of(cluster, node))[-1]
        async with asyncio.timeout(30):
            # Acked by a majority, to which this node need not belong: it has it a little later.
            while b"unique 0007" not in segment.read_bytes():  # noqa: ASYNC110  (a process)
                await asyncio.sleep(0.01)
        flip(segment, segment.read_bytes().find(b"unique 0007"))

    for scrubbed in asyncio.run(live()):
        assert (scrubbed.found, scrubbed.repaired, scrubbed.damaged) == (1, 1, 0)
    nodes = sorted(path for path in tmp_path.glob("**/n?") if (path / "node.meta").exists())
    assert len(nodes) == 3
    assert not any(verify_directory(str(path)).is_damaged for path in nodes)
    assert not any(
        compare_directories(str(nodes[0]), str(path)).is_different for path in nodes[1:]
    )


def directory_of(cluster: LocalCluster, node: NodeId) -> Path:
    """Return a node's data directory."""
    (found,) = cluster.directory.glob(f"**/{node}/node.meta")
    return found.parent


def test_rate_and_rest_are_those_of_the_configuration(tmp_path: Path) -> None:
    """What is set and not heeded would be found on the day that it was needed."""

    async def live() -> tuple[int, int]:
        path = tmp_path / "cluster.yml"
        settings = ("scrub: {mib_per_s: 20, rest_minutes: 90}",)
        path.write_text(config_text(tmp_path / "data", local_addresses(1), settings))
        config = load_config(path)
        form(config)
        node = await NodeServer.open(config, "n1")
        assert node._host is not None
        scrubber = node._host.replicas[SHARD_ZERO].upkeep.scrubber
        await node.close()
        return scrubber.rate, scrubber.rest_ns

    assert asyncio.run(live()) == (20 << 20, 90 * 60 * 1_000_000_000)
