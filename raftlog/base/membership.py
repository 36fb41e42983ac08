"""Who decides: the voters of a shard, in the form that the log stores.

A configuration is an entry of the log (Raft §4.1). ``outgoing`` is empty except
while a joint change is under way; then both halves must agree (§4.3). Nothing
changes membership yet; the representation is ready for it.
"""

import msgspec

from raftlog.base.errors import CorruptFrame
from raftlog.base.ids import NodeId, ReplicaId
from raftlog.base.limits import VOTERS_MAX


class Membership(msgspec.Struct, frozen=True, array_like=True):
    """The replicas of a shard.

    Voters count in elections and commits; learners only receive the log.
    """

    voters: tuple[ReplicaId, ...]
    outgoing: tuple[ReplicaId, ...] = ()
    learners: tuple[ReplicaId, ...] = ()

    def __post_init__(self) -> None:
        """Reject a membership that could decide nothing, or twice."""
        for half in (self.voters, self.outgoing):
            nodes = [replica.node for replica in half]
            if len(set(nodes)) != len(nodes):
                raise ValueError(f"a node votes twice: {nodes}")
            if len(nodes) > VOTERS_MAX:
                raise ValueError(f"{len(nodes)} voters are more than {VOTERS_MAX}")
        if not self.voters:
            raise ValueError("a shard needs at least one voter")

    @property
    def replicas(self) -> tuple[ReplicaId, ...]:
        """Everybody who receives the log, each once, in a fixed order."""
        return tuple(dict.fromkeys((*self.voters, *self.outgoing, *self.learners)))

    def is_voter(self, replica: ReplicaId) -> bool:
        """Whether this very replica, directory included, may be counted."""
        return replica in self.voters or replica in self.outgoing

    def find(self, node: NodeId) -> ReplicaId | None:
        """Return the replica on ``node``, if it is a member."""
        return next((replica for replica in self.replicas if replica.node == node), None)

    def encode(self) -> bytes:
        """Return the body of a configuration entry."""
        return msgspec.msgpack.encode(self)


def decode_membership(body: bytes | memoryview) -> Membership:
    """Read the body of a configuration entry.

    Raises:
        CorruptFrame: It is not one.
    """
    try:
        return msgspec.msgpack.decode(body, type=Membership)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise CorruptFrame(f"configuration entry does not decode: {error}") from error
