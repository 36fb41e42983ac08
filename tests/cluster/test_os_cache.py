"""os-cache: the kernel has what was acknowledged, so another boot of the machine takes it back."""

import asyncio
import shutil
from pathlib import Path
from typing import Final

import pytest

from raftlog.client.client import Client
from raftlog.embedded import RaftLog, Settings
from raftlog.storage.cached_writes import OS_CACHE, CachedWrites
from raftlog.storage.files import OsFiles
from raftlog.testing.bench.target import Target
from raftlog.testing.cluster import LocalCluster
from tests.cluster.cluster_under_load import (
    PATIENCE_S,
    TOPIC,
    Writer,
    compare_every_node,
    ended,
    leader_of,
)
from tests.cluster.test_members import voters_when

pytestmark = pytest.mark.asyncio
CACHED: Final = Settings(durability="os-cache")


def reboot(directory: Path) -> None:
    """Let the directory look as if the machine had been started anew since it was written."""
    CachedWrites(OsFiles(), str(directory), "another boot").begin((), durable=False)


@pytest.mark.long
async def test_a_node_whose_machine_restarted_comes_back_as_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused with a sentence, joins, and votes again; a mere kill -9 changes nothing."""
    monkeypatch.setenv("RAFTLOG_DURABILITY", "os-cache")
    with LocalCluster(tmp_path, settings=("unsafe: true",)) as cluster:
        async with Client(cluster.seeds, timeout=PATIENCE_S) as client:
            target = Target(client, cluster.seeds, cluster)
            await target.ready()
            await client.topics.create(TOPIC, queues=1)
            async with Writer(client) as writer:
                await writer.more(200)
                leader = (await leader_of(target)).node
                node = next(each for name, each in cluster.nodes.items() if name != leader)
                data = tmp_path / "data" / node.node
                assert (data / OS_CACHE).exists()
                node.kill()
                await ended(node)
                await cluster.restart(node.node)
                await writer.more(100)

                before = {each.node: each.directory for each in await client.members.list()}
                node.kill()
                await ended(node)
                reboot(data)
                node.start()
                assert await ended(node) == 1
                assert "the machine was started anew" in node.last_line()
                await writer.more(100)
                shutil.rmtree(data)
                cluster.join(node.address)
                await voters_when(target, 3, but=before[node.node])
                await writer.more(100)
            await compare_every_node(target, writer)
        assert await asyncio.to_thread(cluster.stop) == [0, 0, 0]
    notes = [tmp_path / "data" / node / OS_CACHE for node in cluster.nodes]
    assert not any(OsFiles().exists(str(note)) for note in notes)


async def test_a_lone_log_goes_on_with_what_is_left(tmp_path: Path) -> None:
    """After a clean stop that is everything; with fsync no note is kept."""
    path = tmp_path / "log"
    async with RaftLog[None].open(path, settings=CACHED) as log:
        await asyncio.gather(*(log.append(b"%d" % n) for n in range(50)))
        assert (path / OS_CACHE).exists()
    assert not (path / OS_CACHE).exists()
    reboot(path)
    async with RaftLog[None].open(path, settings=CACHED) as log:
        await log.append(b"50")
    async with RaftLog[None].open(path) as log:
        assert not (path / OS_CACHE).exists()
        await log.append(b"51")
        found = []
        async for entry in log.tail():
            found.append(int(entry.data))
            if len(found) == 52:
                break
    assert found == list(range(52))
