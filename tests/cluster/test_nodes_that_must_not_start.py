"""What a node does with a directory, an address or a file that it must not use.

It ends with another code than 0 and one sentence, and what runs already goes
on undisturbed. It does not try again by itself: a loop of starts hides the
sentence and wears the disk.
"""

import asyncio
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from raftlog.base.ids import NodeId
from raftlog.storage.directory import form_cluster
from raftlog.testing.cluster import LocalCluster
from raftlog.testing.processes import config_text, local_addresses
from tests.cluster.cluster_under_load import (
    Writer,
    channel_to,
    compare,
    ended,
    leader_of,
    queue_of,
    running,
    stored_on,
)

N1: Final = NodeId("n1")
START_S: Final = 20.0


def run_node(config: Path, node: str) -> tuple[int, list[str]]:
    """Run a node that is expected to end by itself; return its code and its lines on stderr."""
    command = [sys.executable, "-m", "raftlog", "node", "run", "-c", str(config), "--node", node]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


class Place:
    """A configuration for one node, and what a case may do to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.addresses = local_addresses(1, grpc=True)
        self.config = directory / "cluster.yml"
        self.data = directory / "data"
        self.config.write_text(config_text(self.data, self.addresses, ()))
        self.held: list[socket.socket] = []

    def format(self, node: str = "n1", path: Path | None = None) -> None:
        """Format the node's directory, perhaps as another node's."""
        form_cluster({NodeId(node): path or self.data / "n1"})

    def take(self, address: str) -> None:
        """Listen on an address."""
        host, port = address.rsplit(":", 1)
        self.held.append(socket.create_server((host, int(port))))


async def until_it_serves(address: str) -> None:
    """Wait for a node that was just started."""
    await (await channel_to(address)).aclose()


def never_formatted(_: Place) -> None:
    """Nothing is there."""


def wiped(place: Place) -> None:
    """It was formatted, then somebody removed what was in it."""
    place.format()
    for path in (place.data / "n1").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def without_identity(place: Place) -> None:
    """Only the file that says whose it is was lost."""
    place.format()
    (place.data / "n1" / "node.meta").unlink()


def of_another_node(place: Place) -> None:
    """Two directories were mixed up."""
    place.format("n2")


def damaged_identity(place: Place) -> None:
    """Both copies are overwritten."""
    place.format()
    (place.data / "n1" / "node.meta").write_bytes(b"\xff" * 8192)


def peer_port_taken(place: Place) -> None:
    """Something else listens there."""
    place.format()
    place.take(place.addresses[0].peer)


def client_port_taken(place: Place) -> None:
    """Something else listens there."""
    place.format()
    place.take(place.addresses[0].client)


def grpc_port_taken(place: Place) -> None:
    """Something else listens there: it must not be shared, as gRPC does by default."""
    place.format()
    place.take(place.addresses[0].grpc)


def not_yaml(place: Place) -> None:
    """The file is no YAML."""
    place.config.write_text("cluster: [")


def unknown_key(place: Place) -> None:
    """A misspelt setting is not ignored."""
    place.config.write_text(place.config.read_text().replace("durability", "durabilty"))


def directory_is_a_file(place: Place) -> None:
    """The path leads somewhere else."""
    place.data.mkdir()
    (place.data / "n1").write_text("hello")


CASES: Final = [
    (never_formatted, 1, "was never formatted"),
    (wiped, 1, "was never formatted"),
    (without_identity, 1, "was never formatted"),
    (of_another_node, 1, "belongs to node n2"),
    (damaged_identity, 4, "cannot prove whose it is"),
    (peer_port_taken, 1, "cannot be listened on"),
    (client_port_taken, 1, "cannot be listened on"),
    (grpc_port_taken, 1, "cannot be listened on"),
    (not_yaml, 2, "cluster.yml:"),
    (unknown_key, 2, "durabilty"),
    (directory_is_a_file, 1, "n1"),
]


@pytest.mark.long
@pytest.mark.parametrize(
    ("damage", "code", "part"), CASES, ids=[damage.__name__ for damage, *_ in CASES]
)
def test_a_node_that_cannot_start_says_why(
    tmp_path: Path, damage: Callable[[Place], None], code: int, part: str
) -> None:
    """One line, cause and advice; never a traceback."""
    place = Place(tmp_path)
    damage(place)
    try:
        found = run_node(place.config, "n1")
    finally:
        for held in place.held:
            held.close()
    assert found[0] == code, found
    assert len(found[1]) == 1, found
    assert part in found[1][0]


@pytest.mark.long
def test_a_locked_directory_is_left_alone(tmp_path: Path) -> None:
    """Two processes on one log would be two votes of one node."""
    with LocalCluster(tmp_path, local_addresses(1)) as cluster:
        (node,) = cluster.nodes.values()
        asyncio.run(until_it_serves(cluster.seeds[0]))
        code, lines = run_node(tmp_path / "cluster.yml", "n1")
        assert (code, len(lines)) == (1, 1), lines
        assert "another process has" in lines[0]
        assert node.running


@pytest.mark.long
@pytest.mark.asyncio
async def test_a_directory_of_another_cluster_ends_its_node(tmp_path: Path) -> None:
    """It can never be part of this one, and must not look as if it merely were behind."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    async with running(ours) as target:
        cluster = target.own()
        async with Writer(target.client) as writer:
            form_cluster({node: theirs / node for node in cluster.nodes})
            leader = await leader_of(target)
            node = next(each for each in cluster.nodes.values() if each is not leader)
            node.kill()
            await ended(node)
            data = ours / "data" / node.node
            data.rename(tmp_path / "kept")
            (theirs / node.node).rename(data)
            code, lines = await asyncio.to_thread(run_node, ours / "cluster.yml", node.node)
            await writer.more(100)
        assert code == 1, lines
        assert sum("belongs to another cluster" in line for line in lines) == 1, lines
        assert not any("Traceback" in line for line in lines)
        number, _ = await queue_of(target.client)
        applied = (await target.client.status()).applied
        for seed in (each.client for each in cluster.addresses if each.node != node.node):
            compare((await stored_on(seed, number, applied))[0], writer)
