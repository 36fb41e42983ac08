"""Processes are killed; what was acknowledged stays, on every node.

Real processes, real files, real sockets. What a kill cannot show (an unsynced
page is lost, a message overtakes another) is the simulator's to show.
"""

from pathlib import Path

import pytest

from tests.cluster.cluster_under_load import (
    Writer,
    compare_every_node,
    ended,
    leader_of,
    running,
)

pytestmark = pytest.mark.asyncio


async def test_the_leader_is_killed_and_nothing_acked_is_lost(tmp_path: Path) -> None:
    """R2, and the two that are left go on; the third catches up when it comes back."""
    async with running(tmp_path) as target:
        async with Writer(target.client) as writer:
            await writer.more(200)
            leader = await leader_of(target)
            leader.kill()
            await ended(leader)
            await writer.more(200)
            leader.start()
            await writer.more(200)
        assert (await leader_of(target)).node in target.own().nodes
        await compare_every_node(target, writer)


async def test_all_are_killed_at_once_and_nothing_acked_is_lost(tmp_path: Path) -> None:
    """Nobody is left who could remember: only the files can."""
    async with running(tmp_path) as target:
        nodes = target.own().nodes.values()
        async with Writer(target.client) as writer:
            await writer.more(300)
            for node in nodes:
                node.kill()
            for node in nodes:
                await ended(node)
            for node in nodes:
                node.start()
            await writer.more(100)
        await compare_every_node(target, writer)


async def test_a_leader_that_is_told_to_stop_hands_over(tmp_path: Path) -> None:
    """SIGTERM loses nothing, and every process ends with 0 (ruling 33)."""
    async with running(tmp_path) as target:
        async with Writer(target.client) as writer:
            await writer.more(200)
            leader = await leader_of(target)
            leader.terminate()
            assert await ended(leader) == 0, leader.last_words()
            await writer.more(200)
            assert (await leader_of(target)).node != leader.node
            leader.start()
            await writer.more(50)
        await compare_every_node(target, writer)
        assert target.own().stop() == [0, 0, 0]
