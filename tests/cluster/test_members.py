"""Members come and go while the cluster serves: nothing acknowledged is lost."""

import asyncio
import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from raftlog.base.errors import RaftlogError
from raftlog.base.ids import NodeId
from raftlog.cli.leader import hand_over
from raftlog.client.routing import ask_status
from raftlog.testing.bench.target import Target
from raftlog.testing.processes import NodeAddress, free_ports
from tests.cluster.cluster_under_load import (
    PATIENCE_S,
    POLL_S,
    TOPIC,
    Writer,
    compare,
    ended,
    leader_of,
    queue_of,
    running,
    stored_on,
)

pytestmark = pytest.mark.asyncio
N4: Final = NodeId("n4")
LONG: Final = 64 << 10
"""So that the log is more than one message."""


def new_address(name: str) -> NodeAddress:
    """Return addresses for one more node."""
    peer, client = (f"127.0.0.1:{port}" for port in free_ports(2))
    return NodeAddress(NodeId(name), peer, client)


async def member(target: Target, *arguments: str) -> dict[str, dict[str, Any]]:
    """Run ``raftlog member``; return what it prints, by node."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "raftlog", "member", *arguments),
        *("--connect", ",".join(target.own().seeds), "-o", "json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 4 * PATIENCE_S)
    assert process.returncode == 0, f"member {arguments}: {err.decode()}"
    return {row["node"]: row for row in json.loads(out)["members"]}


async def voters_when(target: Target, count: int, *, but: str = "") -> dict[str, str]:
    """Wait until ``count`` nodes vote, without directory ``but``; return their directories."""
    async with asyncio.timeout(2 * PATIENCE_S):
        while True:
            members = await target.client.members.list()
            voters = {each.node: each.directory for each in members if each.place == "voter"}
            if len(voters) == count and but not in voters.values():
                return voters
            target.own().check_alive()
            await asyncio.sleep(POLL_S)


async def serves(address: str) -> None:
    """Wait until a node answers: from then on it stops cleanly."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(RaftlogError):
                await ask_status(address)
                return
            await asyncio.sleep(POLL_S)


@pytest.mark.long
async def test_a_node_joins_the_leader_is_removed_and_another_one_killed(tmp_path: Path) -> None:
    """Under load: learner, voter, a leader that removes itself, kill -9, and all start again."""
    async with running(tmp_path) as target:
        async with Writer(target.client) as writer:
            await writer.more(200)
            target.own().join(new_address(N4))
            voters = await voters_when(target, 4)
            assert set(voters) == {"n1", "n2", "n3", N4}
            await writer.more(200)

            removed = await leader_of(target)
            rows = await member(target, "remove", removed.node)
            assert set(rows) == set(voters) - {removed.node}
            await writer.more(200)
            target.own().nodes.pop(removed.node)
            assert await ended(removed) == 1
            assert "move that directory away" in removed.last_words()

            leader = await leader_of(target)
            assert leader.node != removed.node
            leader.kill()
            await ended(leader)
            await writer.more(200)
            leader.start()
            await writer.more(100)
            await serves(leader.address.client)

        left = [node for node in target.own().nodes.values() if node.node in rows]
        for node in left:
            node.terminate()
        for node in left:
            assert await ended(node) == 0, node.last_words()
        for node in left:
            node.start()
        await leader_of(target)
        assert set(await member(target, "list")) == set(rows)
        number, end = await queue_of(target.client)
        applied = (await target.client.status()).applied
        for node in left:
            stored, node_end = await stored_on(node.address.client, number, applied)
            assert node_end == end
            compare(stored, writer)


@pytest.mark.long
async def test_a_wiped_node_comes_back_as_a_new_member(tmp_path: Path) -> None:
    """Its old pair is removed; with --join it is a learner, and a voter when it has the log."""
    async with running(tmp_path) as target:
        async with Writer(target.client) as writer:
            await writer.more(200)
            leader = (await leader_of(target)).node
            wiped = next(node for name, node in target.own().nodes.items() if name != leader)
            before = {each.node: each.directory for each in await target.client.members.list()}
            wiped.kill()
            await ended(wiped)
            shutil.rmtree(tmp_path / "data" / wiped.node)
            again = target.own().join(wiped.address)
            voters = await voters_when(target, 3, but=before[wiped.node])
            await writer.more(100)

        assert set(voters) == {"n1", "n2", "n3"}
        number, end = await queue_of(target.client)
        applied = (await target.client.status()).applied
        stored, node_end = await stored_on(again.address.client, number, applied)
        assert node_end == end
        compare(stored, writer)


@pytest.mark.long
async def test_a_voter_becomes_a_learner_and_a_voter_again(tmp_path: Path) -> None:
    """The command line's demote and promote; two voters then decide."""
    async with running(tmp_path) as target, Writer(target.client) as writer:
        await writer.more(50)
        leader = (await leader_of(target)).node
        other = next(name for name in target.own().nodes if name != leader)
        assert (await member(target, "demote", other))[other]["place"] == "learner"
        await writer.more(50)
        assert (await member(target, "promote", other))[other]["place"] == "voter"
        await writer.more(50)


@pytest.mark.long
async def test_a_new_node_is_told_by_a_leader_that_had_another_directory_before(
    tmp_path: Path,
) -> None:
    """The log that it is sent begins with who the members were; it answers whoever leads now."""
    async with running(tmp_path) as target:
        await asyncio.gather(*(target.client.send(TOPIC, b"." * LONG) for _ in range(64)))
        leader = (await leader_of(target)).node
        wiped = next(node for name, node in target.own().nodes.items() if name != leader)
        before = {each.node: each.directory for each in await target.client.members.list()}
        wiped.kill()
        await ended(wiped)
        shutil.rmtree(tmp_path / "data" / wiped.node)
        again = target.own().join(wiped.address)
        await voters_when(target, 3, but=before[wiped.node])
        assert (await hand_over(target.client, again.node, PATIENCE_S))[1] == again.node

        target.own().join(new_address(N4))
        assert N4 in await voters_when(target, 4)
