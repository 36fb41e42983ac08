"""Who has fallen behind the beginning of the others' log, or has lost everything, comes back.

The log of the others was trimmed: what is before its beginning exists in no entry any more, only
in the tables and the index ranges of a snapshot. So a node can have the same as the others only
if snapshot, ranges and the entries behind have come, and fit together.
"""

import asyncio
import json
import shutil
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from raftlog.base.errors import RaftlogError
from raftlog.base.limits import MIB
from raftlog.client.routing import ask_status
from raftlog.testing.bench.target import Target
from raftlog.testing.processes import NodeProcess
from raftlog.wire.batch import encode_columns
from tests.cluster.cluster_under_load import (
    Writer,
    compare,
    ended,
    leader_of,
    queue_of,
    running,
    status_when,
    stored_on,
    until_durable,
)
from tests.cluster.test_members import voters_when

pytestmark = pytest.mark.asyncio

SETTINGS: Final = ("segment_mib: 8",)
PASSING: Final = "passing"
"""A topic that forgets nearly everything, so that the log is trimmed."""
FILLING: Final = 260 * MIB
"""Index ranges are cut each 64 MiB; a trim ends where one does."""
CUT: Final = 70 * MIB
SLOW_CUTS: Final = 3
LOOKS: Final = 150
"""Ten times a second: the leader looks at everything each second, and trims twice."""
RECORDS, RECORD = 16, 64 * 1024


async def fill(target: Target, size: int) -> None:
    """Write what will be forgotten."""
    batch = encode_columns([bytes(RECORD)] * RECORDS, timestamp_ms=1)
    left = size // len(batch)

    async def filler() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await target.client.send_batch(PASSING, batch)

    await target.client.topics.create(PASSING, queues=1, retention_bytes=8 * MIB, exist_ok=True)
    await asyncio.gather(*(filler() for _ in range(8)))


async def fill_and_trim(target: Target) -> None:
    """Write more than is kept, until the logs of all nodes that run begin later.

    Before anything that is kept for ever: that would hold the range that it is in. A node lets
    go by its own snapshots, one at each cut; a slow disk may miss those that a trim makes, and
    then takes the next ones, which come with more entries.
    """
    await fill(target, FILLING)
    for node in target.own().nodes.values():
        for _ in range(SLOW_CUTS):
            if not node.running or await _has_trimmed(node):
                break
            await fill(target, CUT)
        if node.running:
            await status_when(node.address.client, "log_first_index", 2)


async def _has_trimmed(node: NodeProcess) -> bool:
    """Wait for a while until the log of a node begins later."""
    for _ in range(LOOKS):
        with suppress(RaftlogError):
            if (await ask_status(node.address.client)).counters["log_first_index"] > 1:
                return True
        await asyncio.sleep(0.1)
    return False


async def all_have_the_same(target: Target, writer: Writer, *, files: bool = True) -> None:
    """Read each node's topics from itself; then stop all, and compare their directories."""
    number, end = await queue_of(target.client)
    (passing,) = await target.client._catalog.find(PASSING)
    (kept,) = (await target.client.topics.describe(PASSING)).queues
    applied = (await target.client.status()).applied
    for node in target.own().nodes.values():
        stored, node_end = await stored_on(node.address.client, number, applied)
        assert node_end == end
        compare(stored, writer)
        records, node_end = await stored_on(
            node.address.client, passing, applied, start=kept.start_offset
        )
        assert node_end == kept.end_offset
        assert set(records.values()) == {bytes(RECORD)}
    data = [Path(target.own().directory / "data" / name) for name in sorted(target.own().nodes)]
    assert target.own().stop() == [0, 0, 0]
    for first, second in pairwise(data):
        shown = log_command("compare", first, second)
        for shard in shown["shards"]:
            assert (shard["differences"], shard["damaged"]) == ([], 0)
            assert shard["entries"] > 0
            assert not files or shard["files"] > 0
    for each in data:
        shards = log_command("verify", each)["shards"]
        assert [shard["findings"] for shard in shards] == [[]]


def log_command(*arguments: str | Path) -> Any:
    """Run ``raftlog log``; return what it prints."""
    command = [sys.executable, "-m", "raftlog", "log", *map(str, arguments), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout} {done.stderr}"
    return json.loads(done.stdout)


async def one_follower(target: Target) -> NodeProcess:
    """Return a node that does not lead."""
    leader = (await leader_of(target)).node
    return next(node for name, node in target.own().nodes.items() if name != leader)


@pytest.mark.long
async def test_a_node_that_was_down_while_the_others_trimmed_is_installed(tmp_path: Path) -> None:
    """It comes back under its identity, is given what it lacks, and counts again."""
    async with running(tmp_path, SETTINGS) as target:
        away = await one_follower(target)
        await fill(target, 8 * MIB)
        away.kill()
        await ended(away)
        await fill_and_trim(target)
        async with Writer(target.client) as writer:
            away.start()
            status = await status_when(away.address.client, "snapshots_installed", 1)
            assert status.counters["log_first_index"] > 1
            await writer.more(200)
        await all_have_the_same(target, writer)


@pytest.mark.long
async def test_a_wiped_node_says_so_and_is_built_again_by_the_others(tmp_path: Path) -> None:
    """It is not taken for a new one; with --join it becomes a learner, then a voter."""
    async with running(tmp_path, SETTINGS) as target:
        await fill_and_trim(target)
        async with Writer(target.client) as writer:
            await writer.more(200)
            wiped = await one_follower(target)
            before = {each.node: each.directory for each in await target.client.members.list()}
            wiped.kill()
            await ended(wiped)
            shutil.rmtree(tmp_path / "data" / wiped.node)

            wiped.start()
            assert await ended(wiped) not in (0, None)
            assert "--join" in wiped.last_words()
            wiped.terminate()  # it is not expected to run

            again = target.own().join(wiped.address)
            voters = await voters_when(target, 3, but=before[wiped.node])
            assert voters[wiped.node] != before[wiped.node]
            await status_when(again.address.client, "snapshots_installed", 1)
            await writer.more(200)

            # It is worth as much as any: the one that was there all the time may go.
            leader = (await leader_of(target)).node
            other = next(
                node
                for name, node in target.own().nodes.items()
                if name not in (leader, wiped.node)
            )
            other.kill()
            await ended(other)
            await writer.more(200)
            other.start()
        await all_have_the_same(target, writer)


@pytest.mark.long
async def test_a_node_put_back_to_an_older_copy_says_so_and_joins_anew(tmp_path: Path) -> None:
    """It has promised more than it has: it stops, and is another replica then (ruling 16)."""
    async with running(tmp_path, SETTINGS) as target:
        await fill(target, 4 * MIB)
        node = await one_follower(target)
        data = tmp_path / "data" / node.node
        before = {each.node: each.directory for each in await target.client.members.list()}
        async with Writer(target.client) as writer:
            node.terminate()
            assert await ended(node) == 0
            shutil.copytree(data, tmp_path / "copy")
            node.start()
            await writer.more(200)
            await until_durable(node.address.client, (await target.client.status()).commit)
            node.terminate()
            assert await ended(node) == 0
            shutil.rmtree(data)
            (tmp_path / "copy").rename(data)

            node.start()
            assert await ended(node) != 0
            assert "older than its promises" in node.last_words()
            node.terminate()  # it is not expected to run

            data.rename(tmp_path / "kept for later")
            target.own().join(node.address)
            await voters_when(target, 3, but=before[node.node])
            await writer.more(100)
        await all_have_the_same(target, writer, files=False)
