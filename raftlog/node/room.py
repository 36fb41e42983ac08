"""Room on the disks of a shard's replicas: what the leader may still take in (ruling 25).

Every node says with each heartbeat's answer how full its disk is. An entry is
stored when a majority has it, so what counts is the worst disk of the best
majority: one full disk of three refuses nobody, two of three do. A leader with a
full disk of its own hands over instead (``succession.py``).
"""

from raftlog.base.ids import Index, NodeId, ReplicaId
from raftlog.base.membership import Membership
from raftlog.base.space import WORST, DiskLevel
from raftlog.node.space import NodeSpace
from raftlog.raft.quorum import Quorum


class ShardRoom:
    """The levels of one shard's replicas, as this one has heard them."""

    def __init__(self, me: ReplicaId, node: NodeSpace) -> None:
        self._me = me.node
        self._node = node
        self._heard: dict[NodeId, DiskLevel] = {}
        """The others' levels, where they are not ``ROOM``."""

    def heard(self, sender: NodeId, level: int) -> None:
        """A replica has said how full its disk is."""
        if level:
            self._heard[sender] = DiskLevel(min(level, WORST))
        elif self._heard:
            self._heard.pop(sender, None)

    def forget(self) -> None:
        """Another term: what was said to an earlier leader may be old."""
        self._heard.clear()

    @property
    def own(self) -> DiskLevel:
        """This node's."""
        return self._node.level

    def of(self, node: NodeId) -> DiskLevel:
        """Return what a replica's disk can take, as far as is known."""
        return self._node.level if node == self._me else self._heard.get(node, DiskLevel.ROOM)

    @property
    def is_plenty(self) -> bool:
        """Whether no disk is known to be anything but roomy."""
        return not self._heard and self._node.level is DiskLevel.ROOM

    def level(self, membership: Membership) -> DiskLevel:
        """Return the worst level of the best majority."""
        if self.is_plenty:
            return DiskLevel.ROOM
        room = {
            replica.node: Index(WORST - self.of(replica.node))
            for replica in (*membership.voters, *membership.outgoing)
        }
        # A new learner knows nobody, and nobody agrees to everything.
        return DiskLevel(WORST - min(WORST, Quorum.of(membership).committed(room)))
