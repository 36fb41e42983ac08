"""Nodes that join under names and orders that stand: the living keep theirs, operators' too."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from raftlog.base.ids import NodeId
from raftlog.client.routing import ask_status
from raftlog.storage.directory import DataDirectory
from raftlog.testing.cluster import LocalCluster
from raftlog.testing.processes import NodeAddress, NodeProcess, config_text, free_ports
from tests.cluster.cluster_under_load import PATIENCE_S, POLL_S, ended

pytestmark = pytest.mark.asyncio
N2: Final = NodeId("n2")
N4: Final = NodeId("n4")
LONGEST_ELECTION_S: Final = 0.3
SETTINGS: Final = (
    "shards: 2",
    "segment_mib: 8",
    "timings: {heartbeat_ms: 30, election_min_ms: 150, election_max_ms: 300}",
)
"""With short elections silence is noticed soon."""


@pytest_asyncio.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    """Three nodes with two shards each."""
    directory = tmp_path / "cluster"
    directory.mkdir()
    async with LocalCluster(directory, settings=SETTINGS) as cluster:
        yield cluster


def new_address(name: NodeId) -> NodeAddress:
    """Return free addresses for a node."""
    peer, client = (f"127.0.0.1:{port}" for port in free_ports(2))
    return NodeAddress(name, peer, client)


def elsewhere(cluster: LocalCluster, name: NodeId, directory: Path) -> Path:
    """Write the ``cluster.yml`` of another machine whose node has the name of a living one."""
    others = [each for each in cluster.addresses if each.node != name]
    path = directory / "cluster.yml"
    path.write_text(config_text(directory / "data", [*others, new_address(name)], SETTINGS))
    return path


async def raftlog(*arguments: str) -> tuple[int, str]:
    """Run a command; return its exit code and what it said on stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "raftlog", *arguments),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode or 0, " ".join(err.decode().split())


async def places(cluster: LocalCluster, node: NodeId) -> list[str]:
    """Return what a node is, shard by shard."""
    async with cluster.client(timeout=PATIENCE_S) as client:
        return [each.place for each in await client.members.list() if each.node == node]


async def until_placed(cluster: LocalCluster, node: NodeId, wanted: list[str]) -> None:
    """Wait until a node is this, shard by shard."""
    async with asyncio.timeout(PATIENCE_S):
        while await places(cluster, node) != wanted:
            cluster.check_alive()
            await asyncio.sleep(POLL_S)


@pytest.mark.long
async def test_a_living_node_keeps_its_name(cluster: LocalCluster, tmp_path: Path) -> None:
    """Before its directory is formatted the new one is refused, and after that, too."""
    path = elsewhere(cluster, N2, tmp_path)
    run = ("node", "run", "--config", str(path), "--node", N2, "--join")
    async with cluster.client() as client:
        before = {(each.shard, each.node, each.directory) for each in await client.members.list()}
        cluster_id = (await client.status()).cluster
    code, told = await raftlog(*run)
    assert (code, "n2 is a member of this cluster and alive" in told) == (1, True), told
    data = tmp_path / "data" / N2
    assert not DataDirectory.is_formatted(data)

    formatting = ("node", "format", "--config", str(path), "--node", N2, "--join")
    code, told = await raftlog(*formatting, "--cluster", cluster_id)
    assert code == 0, told
    code, told = await raftlog(*run)
    assert (code, "is alive, so no other directory can take its place" in told) == (1, True), told
    async with cluster.client() as client:
        after = {(each.shard, each.node, each.directory) for each in await client.members.list()}
    assert after == before


@pytest.mark.long
async def test_what_an_operator_made_of_a_node_outlasts_its_restart(
    cluster: LocalCluster,
) -> None:
    """It joins every shard; demoted, it stays a learner with --join; removed, it stays away."""
    node = cluster.join(new_address(N4))
    await until_placed(cluster, N4, ["voter", "voter"])
    async with cluster.client(timeout=PATIENCE_S) as client:
        rows = await client.members.demote(N4)
        assert [(each.place, each.held) for each in rows if each.node == N4] == [
            ("learner", True)
        ] * 2
    await until_it_knows(node)
    await restarted(node, "it does not become a voter by itself")
    assert await places(cluster, N4) == ["learner", "learner"]

    async with cluster.client(timeout=PATIENCE_S) as client:
        await client.members.promote(N4)
        await until_placed(cluster, N4, ["voter", "voter"])
        await client.members.demote(N4)
        await until_it_knows(node)
        node.terminate()
        await ended(node)
        await client.members.remove(N4)
    await restarted(node, "this node was removed from the cluster")
    assert await places(cluster, N4) == []
    assert await ended(node) == 1
    assert "move that directory away" in node.last_words()


@pytest.mark.long
async def test_a_node_that_was_removed_while_it_was_down_ends_and_says_so(
    cluster: LocalCluster,
) -> None:
    """Its own log says that it votes: it would stand for election for ever."""
    node = cluster.join(new_address(N4))
    await until_placed(cluster, N4, ["voter", "voter"])
    async with cluster.client(timeout=PATIENCE_S) as client:
        leaders = {each.node for each in await client.members.list() if each.leads}
        if N4 in leaders:
            await client.transfer_leader("n1")
        node.kill()
        await ended(node)
        await client.members.remove(N4)
    node.start()
    assert await ended(node) == 1
    assert "n4 was removed from the cluster with the directory" in node.last_words()
    told = node.log.read_text()
    assert told.count("pre-candidate in term") <= 4, told  # twice for each shard


@pytest.mark.long
async def test_a_node_that_is_only_cut_off_or_behind_does_not_end(
    cluster: LocalCluster,
) -> None:
    """A member without a leader: two of three are gone for longer than it looks for one."""
    alone, *others = cluster.nodes.values()
    for other in others:
        await cluster.kill(other.node)
    await asyncio.sleep(12 * LONGEST_ELECTION_S)
    assert alone.running, alone.last_words()
    for other in others:
        other.start()
    await cluster.ready()
    assert alone.running


async def until_it_knows(node: NodeProcess) -> None:
    """Wait until a node has heard that it is a learner of both shards for good."""
    async with asyncio.timeout(PATIENCE_S):
        for shard in range(2):
            while True:
                status = await ask_status(node.address.client, shard=shard)
                if node.node in status.learners and status.commit == status.last:
                    break
                await asyncio.sleep(POLL_S)


async def restarted(node: NodeProcess, told: str) -> None:
    """Start a node again as it was started, and wait until it says ``told``, of both shards."""
    if node.running:
        node.terminate()
        await ended(node)
    said = node.log.read_text().count(told)
    node.start()
    async with asyncio.timeout(PATIENCE_S):
        while node.log.read_text().count(told) < said + 2:
            assert node.running, node.last_words()
            await asyncio.sleep(POLL_S)
    await asyncio.sleep(2 * LONGEST_ELECTION_S)
