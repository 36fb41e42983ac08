"""A node among its peers: three hosts that talk to each other."""

import asyncio
import socket
from typing import Final

import msgspec
import pytest

from raftlog.base.errors import Unavailable
from raftlog.base.ids import ClusterId, DirectoryId, Index, NodeId, ReplicaId, ShardId, Term
from raftlog.base.membership import Membership
from raftlog.raft.rpcs import AppendAccepted, PeerMessage
from raftlog.testing.processes import free_ports
from raftlog.transport.mesh import Mesh
from raftlog.wire.address import parse_address

NODES: Final = tuple(NodeId(f"n{number}") for number in (1, 2, 3))


MEMBERS: Final = Membership(tuple(ReplicaId(node, DirectoryId(node * 16)) for node in NODES))


class Identity(msgspec.Struct, frozen=True):
    """The identity of a fake directory."""

    cluster: ClusterId = ClusterId("c" * 32)
    shards: tuple[Membership, ...] = ()


class FakeHost:
    """Keeps what it is given."""

    def __init__(self, node: NodeId, directory: str = "") -> None:
        self.id = ReplicaId(node, DirectoryId(directory or node * 16))
        self.identity = Identity()
        self.memberships = (MEMBERS,)
        self.received: asyncio.Queue[tuple[ReplicaId, ShardId, PeerMessage]] = asyncio.Queue()

    def receive(self, sender: ReplicaId, shard: ShardId, message: PeerMessage) -> None:
        """Keep a message."""
        self.received.put_nowait((sender, shard, message))

    def heard(self, sender: ReplicaId, shard: ShardId) -> None:
        """Nothing to do."""

    def connection_lost(self, node: NodeId) -> None:
        """Nothing to do."""


def free_addresses() -> dict[NodeId, str]:
    """Return addresses on this machine that nobody has."""
    ports = free_ports(len(NODES))
    return {node: f"127.0.0.1:{port}" for node, port in zip(NODES, ports, strict=True)}


@pytest.mark.asyncio
async def test_every_node_reaches_every_other_one() -> None:
    """Whoever starts first dials until the others are there."""
    addresses = free_addresses()
    hosts = [FakeHost(node) for node in NODES]
    meshes = [await Mesh.open(host, addresses) for host in hosts]
    message = AppendAccepted(Term(1), Index(2))
    try:
        for sender, mesh in zip(hosts, meshes, strict=True):
            for target in hosts:
                if target is sender:
                    continue
                async with asyncio.timeout(20):
                    while target.received.empty():  # what finds no link yet is dropped
                        mesh.send(target.id.node, ShardId(4), message)
                        await asyncio.sleep(0.005)
                assert target.received.get_nowait() == (sender.id, 4, message)
                while not target.received.empty():
                    target.received.get_nowait()
    finally:
        for mesh in meshes:
            await mesh.close()


@pytest.mark.asyncio
async def test_who_speaks_is_answered_whatever_directory_the_log_here_says() -> None:
    """A node that is behind knows n2 by its old directory, and must answer the new one."""
    addresses = free_addresses()
    behind = FakeHost(NODES[0])
    ahead = FakeHost(NODES[1], "f" * 32)
    meshes = [await Mesh.open(host, addresses) for host in (behind, ahead)]
    try:
        async with asyncio.timeout(20):
            while ahead.received.empty():
                meshes[0].send(NODES[1], ShardId(0), AppendAccepted(Term(1), Index(2)))
                await asyncio.sleep(0.005)
        # Its members are told again, and are still the old ones: that changes nothing.
        meshes[0].follow(behind.memberships)
        await asyncio.sleep(0.05)
        assert meshes[0].links.is_open(NODES[1])
        # Another directory, again: what was proven is forgotten, and proven anew.
        await meshes.pop().close()
        ahead = FakeHost(NODES[1], "e" * 32)
        meshes.append(await Mesh.open(ahead, addresses))
        async with asyncio.timeout(20):
            while ahead.received.empty():
                meshes[0].send(NODES[1], ShardId(0), AppendAccepted(Term(1), Index(2)))
                await asyncio.sleep(0.005)
    finally:
        for mesh in meshes:
            await mesh.close()


@pytest.mark.asyncio
async def test_a_port_in_use_is_said_in_one_sentence() -> None:
    """With the address, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match=rf"{address} cannot be listened on .*another port"):
            await Mesh.open(FakeHost(NODES[0]), {NODES[0]: address})


@pytest.mark.parametrize(
    ("address", "expected"), [("localhost:80", ("localhost", 80)), ("[::1]:7200", ("::1", 7200))]
)
def test_an_address_is_host_and_port(address: str, expected: tuple[str, int]) -> None:
    """IPv6 hosts stand in brackets, because they have colons themselves."""
    assert parse_address(address) == expected


@pytest.mark.parametrize(
    "address", ["", "host", "host:", ":80", "host:x", "host:70000", "raftlog://host:80"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    """Before anything is dialled."""
    with pytest.raises(ValueError, match="no address"):
        parse_address(address)
