"""Before a node joins: whether its name is free, and whether its file fits the cluster."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from raftlog.base.errors import ConfigError, MemberAlive, Unavailable
from raftlog.base.ids import NodeId
from raftlog.client.shard_members import MemberInfo
from raftlog.server import joining
from raftlog.server.config import Config, load_config
from raftlog.server.joining import join
from raftlog.storage.directory import DataDirectory
from raftlog.wire.schema import client

pytestmark = pytest.mark.asyncio
CLUSTER = "c" * 32
N2 = NodeId("n2")


def config_of(directory: Path) -> Config:
    """Return a cluster of two nodes and two shards, with the shortest elections."""
    lines = ["cluster: c", "data: data", "shards: 2", "segment_mib: 8"]
    lines += ["timings: {heartbeat_ms: 10, election_min_ms: 20, election_max_ms: 30}", "nodes:"]
    for number, name in enumerate(("n1", "n2")):
        peer, address = f"localhost:{2 * number + 1}", f"localhost:{2 * number + 2}"
        lines += [f"  {name}:", f"    listen: {{peer: '{peer}', client: '{address}'}}"]
    path = directory / "cluster.yml"
    path.write_text("\n".join(lines) + "\n")
    return load_config(path)


def member(*, alive: bool, shard: int = 0) -> MemberInfo:
    """Return n2 as it is a member already, with another directory."""
    return MemberInfo(
        *("n2", "d" * 32, "voter", "", ""),
        match=7,
        lag=0,
        caught_up=True,
        leads=False,
        held=False,
        alive=alive,
        shard=shard,
    )


async def status(_address: str) -> client.NodeStatus:
    """Answer as a node of the cluster does."""
    return client.NodeStatus(cluster=CLUSTER, node="n1", shards=2)


async def test_a_living_nodes_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """In whichever shard it lives."""
    config = config_of(tmp_path)

    async def list_members(cluster: str) -> Sequence[MemberInfo]:
        assert cluster == CLUSTER
        return (member(alive=False), member(alive=True, shard=1))

    with pytest.raises(MemberAlive, match="n2 is a member of this cluster and alive"):
        await join(config, N2, ask=status, list_members=list_members)

    assert not DataDirectory.is_formatted(config.find("n2").data)


async def test_a_name_is_free_once_nothing_is_heard_of_it(tmp_path: Path) -> None:
    """Its process died a moment ago: the leader has to notice first."""
    config = config_of(tmp_path)
    asked = 0

    async def list_members(_cluster: str) -> Sequence[MemberInfo]:
        nonlocal asked
        asked += 1
        return (member(alive=asked == 1),)

    replica = await join(config, N2, ask=status, list_members=list_members)

    assert asked == 2
    directory = DataDirectory.open(config.find("n2").data, expected_node=N2)
    assert directory.identity.directory == replica.directory != "d" * 32
    assert directory.identity.cluster == CLUSTER
    directory.close()


async def test_without_a_leader_it_is_formatted_and_the_next_leader_decides(
    tmp_path: Path,
) -> None:
    """Who joins can't be removed from what it is no member of."""
    config = config_of(tmp_path)

    async def list_members(_cluster: str) -> Sequence[MemberInfo]:
        raise Unavailable("no leader")

    await join(config, N2, ask=status, list_members=list_members)

    assert DataDirectory.is_formatted(config.find("n2").data)


async def test_a_file_with_another_number_of_shards_is_refused(tmp_path: Path) -> None:
    """A directory with too few shards would be a member of some of the cluster only."""
    config = config_of(tmp_path)

    async def three(_address: str) -> client.NodeStatus:
        return client.NodeStatus(cluster=CLUSTER, node="n1", shards=3)

    with pytest.raises(ConfigError, match="the cluster has 3 shards, and this file says 2"):
        await join(config, N2, ask=three)


# -- once it runs


class FakeMembers:
    """One shard's members, as a joining node asks for them; notes what it asks."""

    shard = 0

    def __init__(self, answers: Sequence[Sequence[MemberInfo]]) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)

    async def list(self, _timeout_s: float) -> Sequence[MemberInfo]:
        return self._answers.pop(0)

    async def replace(self, node: str, directory: str, _timeout_s: float) -> None:
        self.asked.append(f"replace {node} {directory[:2]}")
        raise MemberAlive("it lives")


def way(
    config: Config, members: FakeMembers, directory: str, *, was_member: bool
) -> joining.Joining:
    """Return n2's way to its vote."""
    replica = joining.ReplicaId(N2, directory)  # type: ignore[arg-type]
    return joining.Joining(config, replica, members, was_member=was_member)  # type: ignore[arg-type]


async def test_a_node_under_a_living_ones_name_ends(tmp_path: Path) -> None:
    """It asks for a while, because the other one may just have died."""
    members = FakeMembers([[member(alive=True)]] * 9)
    with pytest.raises(MemberAlive):
        async with asyncio.timeout(10):
            await way(config_of(tmp_path), members, "e" * 32, was_member=False).until_it_votes()

    assert set(members.asked) == {"replace n2 dd"}


async def test_who_was_removed_does_not_come_back_by_itself(tmp_path: Path) -> None:
    """It was a member when it was last up, and is none now: an operator has decided."""
    members = FakeMembers([[]])
    await way(config_of(tmp_path), members, "d" * 32, was_member=True).until_it_votes()

    assert members.asked == []
