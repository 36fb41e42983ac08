"""A majority is gone for good: one survivor goes on, what it had is served, others join it."""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

from raftlog.base.ids import NodeId
from raftlog.testing.bench.target import Target
from raftlog.testing.processes import NodeProcess
from tests.cluster.cluster_under_load import (
    PATIENCE_S,
    POLL_S,
    Writer,
    compare,
    ended,
    leader_of,
    queue_of,
    running,
    status_when,
    stored_on,
)
from tests.cluster.test_members import voters_when

pytestmark = pytest.mark.asyncio
PHRASE: Final = "give up"


async def unsafe_recover(
    target: Target, node: str, *arguments: str
) -> tuple[int | None, str, str]:
    """Run the command on a node; return its code and what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "raftlog", "node", "unsafe-recover", "-n", node),
        *("-c", str(target.own().directory / "cluster.yml"), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode, out.decode(), err.decode()


async def kill_all_but_the_data(target: Target) -> NodeProcess:
    """End every process; return the one that led."""
    leader = await leader_of(target)
    for node in target.own().nodes.values():
        node.kill()
        await ended(node)
    return leader


async def leads_alone(target: Target, node: NodeProcess) -> None:
    """Wait until the survivor leads; clients have to find it by themselves."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            view = await target.own().observe()
            if any(each.node == node.node and each.role == "leader" for each in view.nodes):
                return
            assert node.running, node.last_words()
            await asyncio.sleep(POLL_S)


async def recover(target: Target, survivor: str, lost: list[str]) -> int:
    """Recover a node after everything that is refused; return its log's last entry before."""
    given_up = [each for name in lost for each in ("--lost", name)]
    for code, arguments, part in (
        (1, (*given_up, "--lost", "n9", "--dry-run"), "n9 is no member"),
        (1, ("--lost", lost[0], "--dry-run"), "are a majority without"),
        (1, (*given_up, "--confirm", "yes"), "nothing was changed"),
        (2, given_up, "nobody can be asked here"),
    ):
        found, _, err = await unsafe_recover(target, survivor, *arguments)
        assert (found, part in err) == (code, True), err

    code, out, err = await unsafe_recover(target, survivor, *given_up, "--dry-run", "-o", "json")
    assert code == 0, err
    report = json.loads(out)
    assert report["phrase"] == f"{PHRASE} {' '.join(lost)}"
    agreed = ("--confirm", report["phrase"])
    code, out, err = await unsafe_recover(target, survivor, *given_up, *agreed)
    assert (code, "behind entry" in out) == (0, True), err
    (shard,) = report["shards"]
    return int(shard["last"])


@pytest.mark.long
async def test_a_survivor_goes_on_alone_and_new_nodes_join_it(tmp_path: Path) -> None:
    """All that was acknowledged is served: the survivor had led. The lost may not come back."""
    async with running(tmp_path) as target:
        async with Writer(target.client) as writer:
            await writer.more(300)
            leader = await leader_of(target)
            code, _, err = await unsafe_recover(target, leader.node, "--lost", "n9")
            assert (code, "another process has" in err) == (1, True), err
        survivor = await kill_all_but_the_data(target)
        lost = sorted(name for name in target.own().nodes if name != survivor.node)
        for name in lost:
            (tmp_path / "data" / name).rename(tmp_path / f"lost-{name}")
        last = await recover(target, survivor.node, lost)

        survivor.start()
        await leads_alone(target, survivor)
        status = await target.client.status()
        assert status.voters == (survivor.node,)
        assert status.recovery is not None
        assert status.recovery.index == last + 1
        assert [each[:3] for each in status.recovery.lost] == [f"{name}/" for name in lost]
        number, _ = await queue_of(target.client)
        compare((await stored_on(survivor.address.client, number, status.applied))[0], writer)

        # One of the lost is there again, with all it had: it is told so, and ends.
        (tmp_path / f"lost-{lost[0]}").rename(tmp_path / "data" / lost[0])
        back = target.own().nodes[NodeId(lost[0])]
        back.start()
        assert await ended(back) == 1
        assert "was given up with a lost majority" in back.last_words()

        shutil.rmtree(tmp_path / "data" / lost[0])
        async with Writer(target.client, after=writer) as writer:
            await writer.more(100)
            for name in lost:
                target.own().join(target.own().nodes[NodeId(name)].address)
            await voters_when(target, 3)
            await writer.more(100)
        applied = (await target.client.status()).applied
        for name in lost:
            address = target.own().nodes[NodeId(name)].address.client
            joined = await status_when(address, "faulty_entries_size", 0, 0)
            assert joined.recovery.index == last + 1
            compare((await stored_on(address, number, applied))[0], writer)
