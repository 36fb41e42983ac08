"""Nodes of two versions: a rolling restart into the new one, under load (ruling 15)."""

import asyncio
import sys
from pathlib import Path
from typing import Final

import pytest

from raftlog.broker.commands import FEATURE_LEVEL
from raftlog.testing.cluster import LocalCluster
from raftlog.testing.processes import NodeProcess
from tests.cluster.cluster_under_load import (
    PATIENCE_S,
    POLL_S,
    Writer,
    compare_every_node,
    ended,
    running,
)

pytestmark = pytest.mark.asyncio

OLDER: Final = [sys.executable, str(Path(__file__).with_name("older.py"))]
NEW: Final = [sys.executable, "-m", "raftlog"]


def become(node: NodeProcess, program: list[str]) -> None:
    """Let the node's next process be another version."""
    node._program = lambda: program  # type: ignore[method-assign]


async def levels(cluster: LocalCluster) -> set[int]:
    """Return the feature level of the shard, as each node that answers knows it."""
    view = await cluster.observe()
    return {each.feature_level for each in view.nodes if not each.problem}


async def until_held_back_by(cluster: LocalCluster, nodes: set[str]) -> None:
    """Wait until the nodes are those that the status names, and no others."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            held = (await cluster.observe()).held_back.get(0)
            if held is not None and held.behind.keys() == nodes:
                break
            await asyncio.sleep(POLL_S)
    assert (held.level, held.possible) == (FEATURE_LEVEL - 1, FEATURE_LEVEL)


@pytest.mark.long
async def test_a_rolling_restart_into_a_new_version_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules are the older one's until the last one is new; then there is no way back."""
    with monkeypatch.context() as patch:
        patch.setattr(NodeProcess, "_program", lambda _: OLDER)
        async with running(tmp_path) as target:
            async with Writer(target.client) as writer:
                await restart_all(target.own(), writer)
            await compare_every_node(target, writer)


async def reach(cluster: LocalCluster, level: int) -> None:
    """Wait until every node knows the shard at this feature level."""
    async with asyncio.timeout(PATIENCE_S):
        while await levels(cluster) != {level}:  # noqa: ASYNC110  (others' processes)
            await asyncio.sleep(POLL_S)


async def restart_all(cluster: LocalCluster, writer: Writer) -> None:
    """Bring one node after the other to the new version, and try to take one back."""
    await reach(cluster, FEATURE_LEVEL - 1)  # a new shard begins at the lowest
    await writer.more(100)
    old = set(cluster.nodes)
    for name, node in cluster.nodes.items():
        assert await levels(cluster) == {FEATURE_LEVEL - 1}
        node.terminate()
        assert await ended(node) == 0, node.last_words()
        become(node, NEW)
        node.start()
        await cluster.ready()
        await writer.more(100)
        old.remove(name)
        if old:
            await until_held_back_by(cluster, old)
    await reach(cluster, FEATURE_LEVEL)
    await writer.more(100)
    node.terminate()
    assert await ended(node) == 0, node.last_words()
    become(node, OLDER)
    node.start()
    assert await ended(node) == 1
    assert "is not known to this binary" in node.last_words(), node.last_words()
    become(node, NEW)
    node.start()
    await cluster.ready()
    await writer.more(100)
