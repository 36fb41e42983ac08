"""Who is asked for a pre-vote stays as it was (Raft §9.6).

A replica that lost its connections asks again and again. If that raised terms,
took leaders away or cost votes, one broken link would keep a shard from working
(Cloudflare 2020). Liveness at the end of a run would not tell: no link is broken
then. Who asks for pre-votes itself may let the other one go first (decision 22).
"""

from typing import Final, NamedTuple

from chaos.check.violation import Violation
from raftlog.base.ids import NodeId, ReplicaId, Term
from raftlog.raft.effects import Role

NAME: Final = "pre_votes_change_nothing"


class Standing(NamedTuple):
    """What a replica is, as far as elections are concerned."""

    term: Term
    vote: ReplicaId | None
    role: Role
    leader: NodeId | None


def check_pre_vote(node: NodeId, before: Standing, after: Standing) -> None:
    """Compare ``node`` before and after it was asked.

    Raises:
        Violation: It is not what it was.
    """
    gave_way = before.role is Role.PRE_CANDIDATE and before._replace(role=Role.FOLLOWER) == after
    if before != after and not gave_way:
        raise Violation(NAME, f"{node} was {before} and is {after}")
