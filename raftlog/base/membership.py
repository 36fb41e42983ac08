"""Who decides: the voters of a shard, in the form that the log stores.

A configuration is an entry of the log (Raft §4.1). ``outgoing`` is empty except
while a joint change is under way; then both halves must agree (§4.3)::

                          voters     outgoing   learners   learners_next
    three nodes           n1 n2 n3
    n4 is new             n1 n2 n3              n4
    promoting n4     ,--> n1..n4     n1 n2 n3
       it is left   '-->  n1..n4
    demoting n1      ,--> n2 n3 n4   n1..n4                n1
       it is left   '-->  n2 n3 n4              n1

A voter that is demoted still counts in the outgoing half, so it is a learner
only once that is left. An empty membership is what a new learner knows before
the log has told it anything: nobody, who decides nothing.

``held`` are nodes, by name, that an operator made learners: they do not become voters
again by their own wish (``--join``), whatever directory they come with. ``preferred`` are those
that should rather lead than others, the first one most.
"""

from typing import Final

import msgspec

from raftlog.base.errors import CorruptFrame
from raftlog.base.ids import Index, NodeId, ReplicaId
from raftlog.base.limits import LEARNERS_MAX, LEASE_MS_MAX, VOTERS_MAX


class MemberAddresses(msgspec.Struct, frozen=True, array_like=True):
    """Where a member is reached, as ``host:port``: by the other nodes, and by clients."""

    node: NodeId
    peer: str
    client: str


class ForcedRecovery(msgspec.Struct, frozen=True, array_like=True):
    """A majority was given up by hand: ``raftlog node unsafe-recover``, last time at ``index``.

    Every later configuration has it, too. What ``lost`` names, of this recovery and of earlier
    ones, is never listened to again: it may hold entries that the shard goes on without.
    """

    index: Index
    wall_ms: int
    by: ReplicaId
    lost: tuple[ReplicaId, ...]


class Membership(msgspec.Struct, frozen=True, array_like=True):
    """The replicas of a shard.

    Voters count in elections and commits; learners only receive the log.
    ``addresses`` has those members that were added after the formation, ``held``
    the nodes that only an operator makes voters, ``preferred`` those that should lead.
    ``lease_ms`` is how long a voter that hears its leader pledges to help no other one; 0:
    there are no leases.
    """

    voters: tuple[ReplicaId, ...]
    outgoing: tuple[ReplicaId, ...] = ()
    learners: tuple[ReplicaId, ...] = ()
    learners_next: tuple[ReplicaId, ...] = ()
    addresses: tuple[MemberAddresses, ...] = ()
    held: tuple[NodeId, ...] = ()
    preferred: tuple[NodeId, ...] = ()
    lease_ms: int = 0
    recovery: ForcedRecovery | None = None

    def __post_init__(self) -> None:
        """Reject a membership that could decide nothing, or twice."""
        for half in (self.voters, self.outgoing, self.learners):
            nodes = [replica.node for replica in half]
            if len(set(nodes)) != len(nodes):
                raise ValueError(f"a node is named twice: {nodes}")
        for half in (self.voters, self.outgoing):
            if len(half) > VOTERS_MAX:
                raise ValueError(f"{len(half)} voters are more than {VOTERS_MAX}")
        if len(self.learners) > LEARNERS_MAX:
            raise ValueError(f"{len(self.learners)} learners are more than {LEARNERS_MAX}")
        if not self.voters and (self.outgoing or self.learners):
            raise ValueError("a shard needs at least one voter")
        voting = {*self.voters, *self.outgoing}
        if voting & set(self.learners):
            raise ValueError(f"both voter and learner: {self}")
        if set(self.learners_next) - (set(self.outgoing) - set(self.voters)):
            raise ValueError(f"a voter that stays, or none, is to become a learner: {self}")
        if len({replica.node for replica in self.replicas}) != len(self.replicas):
            raise ValueError(f"a node with two directories: {self}")
        if not 0 <= self.lease_ms <= LEASE_MS_MAX:
            raise ValueError(f"a pledge of {self.lease_ms} ms")

    @property
    def replicas(self) -> tuple[ReplicaId, ...]:
        """Everybody who receives the log, each once, in a fixed order."""
        return tuple(dict.fromkeys((*self.voters, *self.outgoing, *self.learners)))

    @property
    def is_joint(self) -> bool:
        """Whether two halves must agree."""
        return bool(self.outgoing)

    def is_voter(self, replica: ReplicaId) -> bool:
        """Whether this very replica, directory included, may be counted."""
        return replica in self.voters or replica in self.outgoing

    def find(self, node: NodeId) -> ReplicaId | None:
        """Return the replica on ``node``, if it is a member."""
        return next((replica for replica in self.replicas if replica.node == node), None)

    def addresses_of(self, node: NodeId) -> MemberAddresses | None:
        """Return where ``node`` is reached, if it was added with its addresses."""
        return next((each for each in self.addresses if each.node == node), None)

    def gave_up(self, replica: ReplicaId) -> bool:
        """Whether this very replica was given up with a lost majority."""
        return self.recovery is not None and replica in self.recovery.lost

    def encode(self) -> bytes:
        """Return the body of a configuration entry.

        What is at the end and empty is left out, so that a formation's entry has the bytes
        that it always had.
        """
        fields = [getattr(self, name) for name in self.__struct_fields__]
        while len(fields) > FIELDS_ALWAYS and not fields[-1]:
            fields.pop()
        return msgspec.msgpack.encode(fields)


FIELDS_ALWAYS: Final = 3
NOBODY: Final = Membership(())
"""What a new learner knows: it was told nothing yet."""


class Configuration(msgspec.Struct, frozen=True):
    """A membership and the entry that says it; index 0 is what was so before the log."""

    index: Index
    membership: Membership


def decode_membership(body: bytes | memoryview) -> Membership:
    """Read the body of a configuration entry.

    Raises:
        CorruptFrame: It is not one.
    """
    try:
        return msgspec.msgpack.decode(body, type=Membership)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise CorruptFrame(f"configuration entry does not decode: {error}") from error
