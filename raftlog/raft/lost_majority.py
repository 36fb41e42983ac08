"""A shard that goes on without its majority: which configuration one survivor writes.

What a majority promised it must remember; a survivor alone cannot know all of it. So
nothing here is a step of Raft: it is done by hand, on a stopped node, and named in the log
for ever (``ForcedRecovery``)::

    voters n1 n2 n3 n4 n5, of which n3 n4 n5 are lost      by n1, with its whole log
      ---> entry: voters n1 n2, recovery: lost n3 n4 n5    in a term that only n1 would take

n2 still obeys the five, so it cannot win; it votes for n1, whose log now ends in a later
term, and is told by it. Which survivor knows most is for whoever does this to find out.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from raftlog.base.errors import BadChange
from raftlog.base.ids import Index, NodeId, ReplicaId, Term
from raftlog.base.membership import ForcedRecovery, Membership
from raftlog.raft.changes import known_addresses
from raftlog.raft.quorum import Quorum

LOST_MAX: Final = 64
"""Replicas that a shard remembers as given up, the latest ones."""


def without_lost(
    membership: Membership, me: ReplicaId, lost: Collection[NodeId]
) -> Membership | None:
    """Return the configuration of those who are left; None if nobody of ``lost`` is a member.

    Raises:
        BadChange: ``me`` is no member or is given up itself, or the others can still decide.
    """
    gone = [replica for replica in membership.replicas if replica.node in lost]
    if not gone:
        return None
    if me.node in lost:
        raise BadChange(f"{me.node} is the survivor that goes on; it can't be given up, too")
    if me not in membership.replicas:
        raise BadChange(
            f"{me} is no member of the shard as far as its own log says; recover another node"
        )
    left = {replica.node for replica in membership.replicas} - {each.node for each in gone}
    if Quorum.of(membership).agrees(left):
        raise BadChange(
            f"{_names(left)} are a majority without {_names(lost)}: start them, and have the "
            "lost ones removed: raftlog member remove"
        )
    voters = [each for each in membership.voters if each not in gone]
    if me not in voters:  # a learner, or one that was being removed: there is nobody better
        voters.append(me)
    learners = (*membership.learners, *membership.learners_next)
    changed = msgspec.structs.replace(
        membership,
        voters=tuple(voters),
        outgoing=(),
        learners=tuple(each for each in learners if each not in gone and each != me),
        learners_next=(),
        held=tuple(each for each in membership.held if each not in lost and each != me.node),
        preferred=tuple(each for each in membership.preferred if each not in lost),
    )
    return msgspec.structs.replace(changed, addresses=known_addresses(changed))


def forced(
    before: Membership,
    after: Membership,
    me: ReplicaId,
    lost: Collection[NodeId],
    index: Index,
    wall_ms: int,
) -> Membership:
    """Return ``after`` with the mark that says how it came about, in the entry at ``index``.

    Who was merely being removed is not given up: it may be added again.
    """
    gone = [replica for replica in before.replicas if replica.node in lost]
    earlier = before.recovery.lost if before.recovery is not None else ()
    known = tuple(dict.fromkeys((*earlier, *gone)))[-LOST_MAX:]
    return msgspec.structs.replace(after, recovery=ForcedRecovery(index, wall_ms, me, known))


def term_of_recovery(highest: Term, membership: Membership, me: ReplicaId) -> Term:
    """Return a term above ``highest`` that no other survivor would take for the same.

    If two survivors are recovered by mistake, their entries are of two terms: two entries of
    one term and index would be taken for the same one.
    """
    known = sorted({*membership.replicas, me})
    return Term(highest + 1 + (known.index(me) - highest - 1) % len(known))


def _names(nodes: Collection[NodeId]) -> str:
    return " and ".join(sorted(nodes))
