"""Who stands for election first, and who should lead: a matter of rounds, never of votes.

A voter that should rather not lead sits out the first rounds of an election, so
that another one wins before it stands. It gives up the silent leader at once and
votes as ever. Rounds run out: if nobody else can win, perhaps because its log is
the only complete one, it stands like everybody. So precedence delays an election
by a bounded time, and can neither prevent it nor decide it::

    drained                     4 rounds
    much is not applied yet     1 round
    another one is preferred    as many rounds as such nodes come first, 2 at most
    everybody else              none

A leader serves once it has applied everything before its term. One that was started anew
while others ran on may have seconds of that to do; who has it behind it serves at once.

Who has led until now does not come first: an election is held because it is silent.
"""

from typing import Final

from raftlog.base.ids import NodeId
from raftlog.base.membership import Membership

ASIDE_ROUNDS: Final = 4
"""What a drained node sits out: each round is about a quarter of an election timeout."""
PREFERENCE_ROUNDS_MAX: Final = 2
BEHIND_ROUNDS: Final = 1
BEHIND_ENTRIES: Final = 8_192
"""So many committed entries that were not applied are much: they take longer than the round."""

Rank = tuple[bool, int]


def rank_of(membership: Membership, node: NodeId, *, is_aside: bool) -> Rank:
    """Return how little ``node`` should lead: the least of all should most."""
    preferred = membership.preferred
    place = preferred.index(node) if node in preferred else len(preferred)
    return is_aside, place


def rounds_to_sit_out(
    membership: Membership,
    me: NodeId,
    *,
    is_aside: bool,
    led: NodeId | None = None,
    unapplied: int = 0,
) -> int:
    """Return how many rounds of an election ``me`` leaves to others.

    Args:
        membership: Who votes.
        me: A voter.
        is_aside: Whether an operator wants it not to lead.
        led: Who has led until now, as far as ``me`` knows.
        unapplied: Committed entries that ``me`` has not applied.
    """
    others = {replica.node for replica in (*membership.voters, *membership.outgoing)} - {me}
    if not others:
        return 0
    if is_aside:
        return ASIDE_ROUNDS
    mine = rank_of(membership, me, is_aside=False)
    first = [
        node for node in others if node != led and rank_of(membership, node, is_aside=False) < mine
    ]
    behind = BEHIND_ROUNDS if unapplied > BEHIND_ENTRIES else 0
    return max(min(len(first), PREFERENCE_ROUNDS_MAX), behind)
