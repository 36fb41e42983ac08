"""Liveness: once the faults are over, one leader, equal logs, and new writes go through.

Asked again and again until a bound; what is reported is why the last answer
was no. Safety is never asked here.
"""

from collections.abc import Sequence

import msgspec

from raftlog.base.ids import Index, NodeId, Term


class ReplicaView(msgspec.Struct, frozen=True):
    """What an observer sees of one healthy replica."""

    node: NodeId
    leads: bool
    term: Term
    leader: NodeId | None
    last: Index
    last_checksum: int
    durable: Index
    applied: Index
    digest: bytes
    faulty: int


def why_not_converged(replicas: Sequence[ReplicaView]) -> str | None:
    """Return what is still missing for a healthy shard, or None if nothing is."""
    leaders = [replica for replica in replicas if replica.leads]
    if len(leaders) != 1:
        return f"{len(leaders)} leaders: {[leader.node for leader in leaders]}"
    leader = leaders[0]
    for replica in replicas:
        if replica.leader != leader.node or replica.term != leader.term:
            return f"{replica.node} follows {replica.leader} in term {replica.term}"
        if (replica.last, replica.last_checksum) != (leader.last, leader.last_checksum):
            return f"log of {replica.node} ends at {replica.last}, the leader's at {leader.last}"
        if replica.durable != replica.last:
            return f"{replica.node} is durable to {replica.durable} of {replica.last}"
        if replica.applied != replica.last:
            return f"{replica.node} has applied {replica.applied} of {replica.last}"
        if replica.digest != leader.digest:
            return f"{replica.node} and {leader.node} have different states"
        if replica.faulty:
            return f"{replica.node} still has {replica.faulty} damaged entries"
    return None
