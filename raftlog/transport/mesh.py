"""A node among its peers: the address they connect to, and the links back.

What the mesh needs of a node's host is a narrow protocol; ``node.Host`` is the
implementation.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random, SystemRandom
from typing import Final, Protocol

from raftlog.base.errors import RaftlogError, Unavailable, WrongIdentity
from raftlog.base.ids import ClusterId, DirectoryId, NodeId, ReplicaId, ShardId
from raftlog.base.membership import Membership
from raftlog.broker.commands import FEATURE_LEVEL
from raftlog.raft.rpcs import PeerMessage
from raftlog.transport.gate import Gate
from raftlog.transport.links import LinkEvents, Links, PeerAddress
from raftlog.transport.peer_server import PeerServer
from raftlog.wire.address import parse_address
from raftlog.wire.greeting import Promise, Sender


class MeshIdentity(Protocol):
    """Whose directory it is."""

    @property
    def cluster(self) -> ClusterId:
        """The cluster that the directory was formatted for."""


class MeshHost(Protocol):
    """The replicas of this node. Everything is called on the loop."""

    @property
    def id(self) -> ReplicaId:
        """This node and its directory."""

    @property
    def identity(self) -> MeshIdentity:
        """The identity in the directory."""

    @property
    def memberships(self) -> Sequence[Membership]:
        """The members of each shard, as this node's log has them now."""

    def receive(self, sender: ReplicaId, shard: ShardId, message: PeerMessage) -> None:
        """Take in a message of a peer, as its hello proved it."""

    def heard(self, sender: ReplicaId, shard: ShardId) -> None:
        """Bytes of entries are arriving from ``sender``."""

    def connection_lost(self, node: NodeId) -> None:
        """The connection to ``node`` is gone and its hello was not answered in time."""


class Mesh:
    """The peer side of one node's network."""

    def __init__(
        self,
        server: PeerServer,
        host: MeshHost,
        addresses: Mapping[NodeId, str],
        promises: Callable[[], Sequence[Promise]],
        events: LinkEvents,
    ) -> None:
        self.server = server
        self._me = host.id.node
        self._addresses = addresses
        self._memberships = host.memberships
        self._on_refused = events.on_refused
        self._proven: dict[NodeId, DirectoryId] = {}
        server.gate.on_admitted = self._admitted
        self.links = Links(
            Sender(
                *(host.identity.cluster, host.id, SystemRandom().getrandbits(64), FEATURE_LEVEL)
            ),
            self._peers(),
            events=LinkEvents(events.on_lost, self._refused, events.on_opened),
            promises=promises,
            random=Random(),
        )
        self.level_of: Final = server.gate.level_of
        self.send: Final = self.links.send
        """Send a message to a peer's shard; never blocks, never raises, may lose it."""

    @classmethod
    async def open(
        cls,
        host: MeshHost,
        addresses: Mapping[NodeId, str],
        *,
        listen: str | None = None,
        promises: Callable[[], Sequence[Promise]] = lambda: (),
        on_refused: Callable[[NodeId, RaftlogError], None] = lambda _node, _error: None,
        on_opened: Callable[[NodeId], None] = lambda _node: None,
    ) -> "Mesh":
        """Listen for peers and begin to dial them.

        Args:
            host: What messages are given to.
            addresses: ``host:port`` to dial for the peers that this node was told of; they
                stand over those that members were added with. This node's own entry is where
                it listens, unless ``listen`` says otherwise.
            listen: Where to listen.
            promises: How far this node's promises go, for each hello (ruling 16): numbers of
                what *is durable*. A number of a write that is merely under way would, after a
                crash, make this node look rolled back.
            on_refused: Told when a peer refuses this node: ``RolledBack`` or ``GivenUp`` mean
                stop.
            on_opened: Told when a peer has accepted both connections of this node.

        Raises:
            Unavailable: The address to listen on cannot be had.
        """
        me = host.id
        address = listen or addresses[me.node]
        server = PeerServer(
            Gate(host.identity.cluster, me, host.memberships), host.receive, host.heard
        )
        try:
            await server.listen(*parse_address(address))
        except OSError as error:
            raise Unavailable(
                f"{address} cannot be listened on ({error.strerror or error}); stop what uses it, "
                "or choose another port"
            ) from error
        events = LinkEvents(host.connection_lost, on_refused, on_opened)
        mesh = cls(server, host, addresses, promises, events)
        mesh.links.start()
        return mesh

    def follow(self, memberships: Sequence[Membership]) -> None:
        """Take in who the members of each shard are now: whom to dial, whose promises to keep."""
        self._memberships = memberships
        self.server.gate.follow(memberships)
        self.links.follow(self._peers())

    def _peers(self) -> dict[NodeId, PeerAddress]:
        return peers_to_dial(self._me, self._addresses, self._memberships, self._proven)

    def _admitted(self, sender: ReplicaId) -> None:
        """Answer who speaks: the log here may name a directory that a peer had long ago."""
        dialled = self._peers().get(sender.node)
        if dialled is not None and dialled.directory != sender.directory:
            self._proven[sender.node] = sender.directory
            self.links.follow(self._peers())

    def _refused(self, node: NodeId, error: RaftlogError) -> None:
        if isinstance(error, WrongIdentity) and self._proven.pop(node, None) is not None:
            # It has yet another one. Not from within the link's own task, which is replaced.
            asyncio.get_running_loop().call_soon(lambda: self.links.follow(self._peers()))
        self._on_refused(node, error)

    async def close(self) -> None:
        """Close the address and every connection."""
        await asyncio.gather(self.links.close(), self.server.close())


def peers_to_dial(
    me: NodeId,
    addresses: Mapping[NodeId, str],
    memberships: Sequence[Membership],
    proven: Mapping[NodeId, DirectoryId],
) -> dict[NodeId, PeerAddress]:
    """Return where each peer of ``me`` is, and the directory that it must have if known.

    ``addresses`` (the configuration file's) stand over those that members were
    added with: they may name a proxy, or another network (ruling 28). What a peer's
    own hello has proven (``proven``) stands over what the log here says: this node may be
    the one that is behind (ruling 6), and would else never answer a leader that came
    back with a new directory.
    """
    added = {each.node: each.peer for members in memberships for each in members.addresses}
    directories = {
        replica.node: replica.directory for members in memberships for replica in members.replicas
    }
    directories.update(proven)
    return {
        node: PeerAddress(*parse_address(where), directory=directories.get(node, ""))
        for node, where in {**added, **addresses}.items()
        if node != me
    }
