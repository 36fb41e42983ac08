"""Draining nodes of a cluster that serves, and the rolling restart that is done with it."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from raftlog.client.routing import ask_status
from raftlog.testing.cluster import LocalCluster
from raftlog.testing.processes import NodeProcess
from tests.cluster.cluster_under_load import (
    PATIENCE_S,
    Writer,
    compare_every_node,
    ended,
    leader_of,
    running,
)

pytestmark = pytest.mark.asyncio


async def raftlog(*arguments: str) -> tuple[int, Any, str]:
    """Run a command; return its exit code, what it printed as JSON, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "raftlog", *arguments, "-o", "json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 2 * PATIENCE_S)
    told = " ".join(err.decode().replace("│", " ").split())
    return process.returncode or 0, json.loads(out) if out else None, told


async def drain(node: NodeProcess, *more: str) -> tuple[int, Any, str]:
    """Run ``raftlog node drain``."""
    return await raftlog("node", "drain", "--config", str(node.config), "--node", node.node, *more)


@pytest.mark.long
async def test_a_rolling_restart_loses_nothing_and_leaves_nobody_drained(tmp_path: Path) -> None:
    """Drain, stop, start, the next one: what the how-to page says, under load."""
    async with running(tmp_path) as target:
        async with Writer(target.client) as writer:
            await writer.more(100)
            for node in list(target.own().nodes.values()):
                code, told, err = await drain(node)
                assert (code, told) == (0, {"node": node.node, "drained": True}), err
                leader = await leader_of(target)
                assert leader.node != node.node
                await writer.more(100)
                node.terminate()
                assert await ended(node) == 0, node.last_words()
                node.start()
                await target.own().ready()
                await writer.more(100)
            statuses = [await ask_status(seed) for seed in target.seeds]
            assert [each.node for each in statuses if each.node in each.drained] == []
        await compare_every_node(target, writer)


@pytest.mark.long
async def test_a_drained_node_is_shown_refuses_a_transfer_and_leads_if_it_must(
    tmp_path: Path,
) -> None:
    """With two shards; then both of the others are drained, too, and one is killed."""
    settings = ("shards: 2", "segment_mib: 8")
    async with LocalCluster(tmp_path, settings=settings) as cluster:
        first = cluster.nodes[await cluster.leader()]
        assert (await drain(first))[0] == 0
        for shard in range(2):
            status = await ask_status(first.address.client, shard=shard)
            assert (status.role, list(status.drained)) == ("follower", [first.node])
        config = ("--config", str(first.config))
        code, told, _ = await raftlog("cluster", "status", *config)
        rows = {(row["node"], row["shard"]): row["drained"] for row in told["nodes"]}
        assert {key for key, is_drained in rows.items() if is_drained} == {
            (first.node, 0),
            (first.node, 1),
        }
        seeds = ",".join(cluster.seeds)
        transfer = ("leader", "transfer", "--to", first.node, "--connect", seeds)
        code, _, err = await raftlog(*transfer)
        assert (code, f"{first.node} is drained, so it does not lead" in err) == (1, True), err

        second = cluster.nodes[await cluster.leader()]
        assert (await drain(second))[0] == 0
        third = cluster.nodes[await cluster.leader()]
        assert {first.node, second.node, third.node} == set(cluster.nodes)
        await cluster.kill(third.node)
        assert await cluster.leader() in {first.node, second.node}
        code, _, err = await drain(first, "--timeout", "1")
        code_2, _, err_2 = await drain(second, "--timeout", "1")
        assert {code, code_2} <= {0, 1}
        assert 1 in {code, code_2}
        assert "no other voter answers and has caught up" in err + err_2

        code, told, err = await drain(first, "--undo")
        assert (code, told) == (0, {"node": first.node, "drained": False}), err
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if await cluster.leader() == first.node:
                    break
                await asyncio.sleep(0.1)


@pytest.mark.long
async def test_the_only_voter_is_not_drained(tmp_path: Path) -> None:
    """Nobody would lead instead; and a name that is none is told with those that are."""
    async with LocalCluster(tmp_path, nodes=1) as cluster:
        node = cluster.nodes[await cluster.leader()]
        code, _, err = await drain(node)
        assert (code, "n1 is the only voter of shard 0" in err) == (1, True), err
        assert list((await ask_status(node.address.client)).drained) == []
        await cluster.kill("n1")
        code, _, err = await drain(node, "--timeout", "1")
        assert (code, bool(err)) == (1, True)
