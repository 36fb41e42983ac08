"""A cluster for tests: it starts, can be hurt, goes on, and leaves nothing."""

import asyncio
from pathlib import Path

import pytest

from raftlog.base.errors import Unavailable
from raftlog.server.pidfile import ProcessId
from raftlog.testing import LocalCluster, NodeAddress
from raftlog.testing.processes import are_free, free_ports


@pytest.mark.long
def test_it_waits_is_hurt_and_leaves_nothing() -> None:
    """The life of a cluster in somebody's test."""

    async def live() -> tuple[Path, list[int]]:
        async with LocalCluster(nodes=3) as cluster:
            leader = await cluster.leader()
            pids = [node.pid for node in cluster.nodes.values()]

            await cluster.kill(leader)
            assert not cluster.nodes[leader].running
            assert await cluster.leader() != leader

            await cluster.restart(leader)
            assert cluster.nodes[leader].running
            view = await cluster.ready()
            assert not view.missing

            async with cluster.client(timeout=10.0) as client:
                await client.topics.create("orders")
                receipt = await client.send("orders", b"v")
            assert receipt.durability == "fsync"
            return cluster.directory, [*pids, cluster.nodes[leader].pid]

    directory, pids = asyncio.run(live())

    assert not directory.exists()
    assert not any(ProcessId.find(pid) for pid in pids)


@pytest.mark.long
def test_a_restart_of_a_node_that_runs_stops_it_first() -> None:
    """A rolling restart is a loop over the nodes."""

    async def live() -> None:
        async with LocalCluster(nodes=1) as cluster:
            before = cluster.nodes[cluster.addresses[0].node].pid
            await cluster.restart("n1")
            assert cluster.nodes[cluster.addresses[0].node].pid != before

    asyncio.run(live())


@pytest.mark.long
def test_a_directory_of_ones_own_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    """The second cluster has what the first one stored."""

    async def first() -> None:
        async with LocalCluster(tmp_path, nodes=1) as cluster, cluster.client() as client:
            await client.topics.create("kept")

    async def second() -> None:
        async with LocalCluster(tmp_path, nodes=1) as cluster, cluster.client() as client:
            assert [topic.name for topic in await client.topics.list()] == ["kept"]

    asyncio.run(first())
    asyncio.run(second())


def test_a_node_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    """Rather than after half a minute, and without them."""

    async def live() -> None:
        async with LocalCluster(tmp_path, nodes=1):
            await LocalCluster(tmp_path, nodes=1).__aenter__()

    with pytest.raises(Unavailable, match=r"n1 ended by itself \(exit code 1\); it said: .*open"):
        asyncio.run(live())


@pytest.mark.parametrize("nodes", [0, 8])
def test_a_size_that_no_cluster_has_is_refused(nodes: int) -> None:
    """Before anything is written."""
    with pytest.raises(ValueError, match="a cluster has 1 to 7"):
        LocalCluster(nodes=nodes)


def test_ports_that_somebody_has_are_not_free() -> None:
    """``raftlog dev`` takes others then."""
    import socket  # noqa: PLC0415  (here only)

    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    try:
        assert not are_free([*free_ports(1), port])
    finally:
        taken.close()
    assert are_free([port])


def test_names_are_loaded_when_they_are_asked_for() -> None:
    """And others are refused as Python does."""
    import raftlog.testing  # noqa: PLC0415

    assert NodeAddress.__name__ == "NodeAddress"
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        raftlog.testing.Nothing  # noqa: B018
