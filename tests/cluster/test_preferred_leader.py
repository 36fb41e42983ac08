"""Preferred leaders of a cluster that serves: who is preferred leads whenever it can."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from raftlog.base.ids import NodeId
from raftlog.base.limits import PREFER_STEADY_NS
from raftlog.client.routing import ask_status
from raftlog.testing.bench.target import Target
from raftlog.testing.cluster import LocalCluster
from tests.cluster.cluster_under_load import (
    PATIENCE_S,
    POLL_S,
    Writer,
    compare_every_node,
    leader_of,
    running,
)

pytestmark = pytest.mark.asyncio
STEADY_S: Final = PREFER_STEADY_NS / 1e9


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


async def leads(target: Target, node: NodeId) -> None:
    """Wait until ``node`` leads, and has for a moment."""
    async with asyncio.timeout(2 * STEADY_S + 2 * PATIENCE_S):
        while (await leader_of(target)).node != node:
            target.own().check_alive()
            await asyncio.sleep(POLL_S)


@pytest.mark.long
async def test_the_preferred_one_leads_whenever_it_can(tmp_path: Path) -> None:
    """Under load: named, killed, back, drained, and not any more. Nothing is lost by all that."""
    async with running(tmp_path) as target:
        first = (await leader_of(target)).node
        chosen = next(node for node in target.own().nodes.values() if node.node != first)
        seeds = ("--connect", ",".join(target.seeds))
        config = ("--config", str(chosen.config), "--node", chosen.node)
        async with Writer(target.client) as writer:
            await writer.more(50)
            code, told, err = await raftlog("leader", "prefer", "--node", chosen.node, *seeds)
            assert code == 0, err
            assert told["shards"][0]["preferred"] == [chosen.node]
            await leads(target, chosen.node)
            await writer.more(50)

            await target.own().kill(chosen.node)
            assert (await leader_of(target)).node != chosen.node
            await writer.more(50)
            await target.own().restart(chosen.node)
            await leads(target, chosen.node)

            code, _, err = await raftlog("node", "drain", *config)
            assert code == 0, err
            await writer.more(50)
            await asyncio.sleep(STEADY_S + 1)  # as long as it takes to get leadership
            assert (await leader_of(target)).node != chosen.node
            code, _, err = await raftlog("node", "drain", "--undo", *config)
            assert code == 0, err
            await leads(target, chosen.node)
            await writer.more(50)

            status = await target.client.status()
            assert status.preferred == (chosen.node,)
            others = [node for node in target.own().addresses if node.node != chosen.node]
            counters = [(await ask_status(each.client)).counters for each in others]
            assert sum(each["wished_handovers"] for each in counters) >= 1
        await compare_every_node(target, writer)


@pytest.mark.long
async def test_each_shard_has_its_own_and_a_learner_can_not_be_it(tmp_path: Path) -> None:
    """Two shards, led by two nodes, as the status shows; then one of them is a learner."""
    async with LocalCluster(tmp_path, settings=("shards: 2", "segment_mib: 8")) as cluster:
        await cluster.ready()
        seeds = ("--connect", ",".join(cluster.seeds))
        n1, n2, n3 = cluster.nodes
        for shard, node in enumerate((n1, n2)):
            code, _, err = await raftlog(
                *("leader", "prefer", "--node", node, "--shard", str(shard), *seeds)
            )
            assert code == 0, err
        config = ("--config", str(cluster.nodes[n1].config))
        wanted = {(0, n1), (1, n2)}
        async with asyncio.timeout(2 * STEADY_S + PATIENCE_S):
            while True:
                _, told, _ = await raftlog("cluster", "status", *config)
                leading = {
                    (row["shard"], row["node"]) for row in told["nodes"] if row["role"] == "leader"
                }
                if leading == wanted:
                    break
        preferred = {(row["shard"], *row["preferred"]) for row in told["nodes"]}
        assert preferred == wanted

        code, _, err = await raftlog("member", "demote", n3, *seeds)
        assert code == 0, err
        code, _, err = await raftlog("leader", "prefer", "--node", n3, *seeds)
        assert (code, "n3 is a learner, and only a voter can lead" in err) == (1, True), err
