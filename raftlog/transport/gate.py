"""Who may come in: the server's side of hello (rulings 6, 16).

Asked is: the same protocol, the same cluster, meant for this very replica, and
from a sender whose promises have not gone back and that was not given up with a lost
majority. Not asked is whether the sender is in *this* node's configuration: this
node may be the one that is behind.

A sender whose promises went back is caught only after its restart, because a
running process holds its directory; a hello that was merely overtaken by a
later one of the same process is no sign of anything.

Anybody can claim a name in a hello. Promises are remembered only of a shard's
members, so what is remembered has a bound.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from raftlog.base.errors import (
    GivenUp,
    ProtocolError,
    RolledBack,
    WrongCluster,
    WrongIdentity,
    WrongVersion,
)
from raftlog.base.ids import ClusterId, DirectoryId, NodeId, ReplicaId, ShardId
from raftlog.base.membership import Membership
from raftlog.wire.frame import PROTOCOL_MAGIC, PROTOCOL_VERSION
from raftlog.wire.schema import hello

PEERS: Final = frozenset({int(hello.PURPOSE_CONTROL), int(hello.PURPOSE_ENTRIES)})
CLIENTS: Final = frozenset({int(hello.PURPOSE_CLIENT)})

Promised = dict[int, tuple[int, int]]


class Gate:
    """Checks hellos to one node and remembers what its peers have promised.

    ``shards`` names the members of each shard, until ``follow`` names others;
    nobody else's promises are kept.
    """

    def __init__(
        self, cluster: ClusterId, replica: ReplicaId, shards: Sequence[Membership] = ()
    ) -> None:
        self.cluster: Final = cluster
        self.replica: Final = replica
        self.on_admitted: Callable[[ReplicaId], None] = lambda _: None
        """Told of each peer whose hello was accepted: this directory is that node's now."""
        self._shards_of: dict[ReplicaId, set[int]] = {}
        self._promised: dict[ReplicaId, tuple[int, Promised]] = {}
        self._levels: dict[ReplicaId, int] = {}
        self._shards: Sequence[Membership] = ()
        self.follow(shards)

    def follow(self, shards: Sequence[Membership]) -> None:
        """Take in who the members of each shard are now."""
        self._shards = shards
        self._shards_of = {}
        for shard, members in enumerate(shards):
            for member in members.replicas:
                self._shards_of.setdefault(member, set()).add(shard)
        for gone in self._promised.keys() - self._shards_of.keys():
            del self._promised[gone]
            self._levels.pop(gone, None)

    def admit(self, message: hello.Hello, purposes: frozenset[int]) -> ReplicaId | None:
        """Return the replica that says hello, or None for a client.

        Raises:
            PeerRefused: It must not talk to this node on this address.
        """
        if message.magic != PROTOCOL_MAGIC:
            raise ProtocolError("that is no raftlog hello")
        if message.protocol != PROTOCOL_VERSION:
            raise WrongVersion(
                f"you speak protocol {message.protocol}, this node {PROTOCOL_VERSION}; "
                "run versions that share one"
            )
        if message.purpose not in purposes:
            raise ProtocolError(
                "peers and clients have different addresses, and this is the other one; clients "
                "connect to listen.client of cluster.yml, nodes to listen.peer"
            )
        is_client = int(message.purpose) in CLIENTS
        if message.cluster != self.cluster and (message.cluster or not is_client):
            raise WrongCluster(
                f"this is cluster {self.cluster!r}, you mean {message.cluster!r}; "
                "correct the address"
            )
        if message.target_node or not is_client:
            self._check_target(message)
        if is_client:
            return None
        if not message.node or not message.directory or message.node == self.replica.node:
            raise WrongIdentity(f"{message.node!r} is no peer of {self.replica}")
        sender = ReplicaId(NodeId(message.node), DirectoryId(message.directory))
        if any(members.gave_up(sender) for members in self._shards):
            raise GivenUp(
                f"{sender} was given up with a lost majority, and this cluster went on without "
                "what it may hold. Stop the node, move its directory away, and let it join as "
                f"new: raftlog node run --node {sender.node} --join"
            )
        self._check_promises(sender, message)
        self.on_admitted(sender)
        return sender

    def _check_target(self, message: hello.Hello) -> None:
        mine = self.replica
        if message.target_node != mine.node or message.target_directory not in (
            "",
            mine.directory,
        ):
            raise WrongIdentity(
                f"this is {mine}, you mean {message.target_node}/{message.target_directory[:8]}; "
                "correct the addresses, or see whether the directory was replaced"
            )

    def remember(self, sender: ReplicaId, message: hello.Hello) -> None:
        """Take in what a hello promised whose sender is a member by now, and was none then.

        A node that is new, or far behind, learns of members from the log, long after they said
        hello; and who joins says hello before it is one.
        """
        if sender not in self._promised:
            self._check_promises(sender, message)

    def note_unit(self, sender: ReplicaId, shard: ShardId, unit: int) -> None:
        """Remember that ``sender`` has said that write unit ``unit`` is durable there.

        A hello may be weeks old when a directory is put back; what was
        promised since is known from the answers to appends (ruling 16).
        """
        known = self._promised.get(sender)
        row = known[1].get(shard) if known is not None else None
        if known is not None and row is not None and unit > row[1]:
            known[1][shard] = (row[0], unit)

    def _check_promises(self, sender: ReplicaId, message: hello.Hello) -> None:
        shards = self._shards_of.get(sender)
        if shards is None:
            return
        claimed: Promised = {
            row.shard: (row.hard_state_sequence, row.unit)
            for row in message.promises
            if row.shard in shards
        }
        known = self._promised.get(sender)
        merged = dict(claimed)
        if known is not None:
            incarnation, remembered = known
            for shard, (sequence, unit) in remembered.items():
                now = claimed.get(shard, (sequence, unit))
                if incarnation != message.incarnation and (now[0] < sequence or now[1] < unit):
                    raise RolledBack(
                        f"shard {shard} of {sender} promised up to hard state {sequence}, unit "
                        f"{unit}, and is now at {now[0]}, {now[1]}: its directory is older than "
                        "its promises. Stop the node; it may come back only as a new one"
                    )
                merged[shard] = (max(now[0], sequence), max(now[1], unit))
        self._promised[sender] = (message.incarnation, merged)
        self._levels[sender] = message.feature_level

    def level_of(self, replica: ReplicaId, /) -> int:
        """Return the highest feature level that a member can apply; 0: it did not say.

        As its last hello said it. A node that goes back to an older version afterwards refuses
        what it can't apply, and stops (ruling 15).
        """
        return self._levels.get(replica, 0)

    @property
    def promised(self) -> Mapping[ReplicaId, tuple[int, Promised]]:
        """What each peer was seen to promise: incarnation, and by shard (sequence, unit)."""
        return self._promised
