"""A commit stands on a majority of *durable* logs, whatever anybody claims (R1).

Durable is what the observer saw reach the disk, also of nodes that are down
now: their disks will come back.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from chaos.check.log_model import LogModel, Mark
from chaos.check.violation import Violation
from raftlog.base.ids import Index, NodeId, Term

NAME: Final = "commit_on_majority"


def check_majority(
    node: NodeId,
    index: Index,
    mark: Mark,
    durable: Mapping[NodeId, LogModel],
    halves: Sequence[Collection[NodeId]] = (),
) -> None:
    """Check a commit that is news.

    Args:
        node: Who claims it.
        index: The last index that it commits.
        mark: The entry there; its chain value stands for all before.
        durable: The durable log of each node.
        halves: Who must agree: a majority of each (Raft §4.3); none: of all.

    Raises:
        Violation: Fewer than a majority have it.
    """
    for half in halves or (durable.keys(),):
        holders = [voter for voter in half if durable[voter].at(index) == mark]
        if 2 * len(holders) <= len(half):
            raise Violation(
                NAME,
                f"{node} commits {index} ({mark}), which is durable only on {holders} "
                f"of {sorted(half)}",
            )


def check_own_term(leader: NodeId, term: Term, index: Index, mark: Mark) -> None:
    """Check what a leader commits: an older entry only below one of its own term (§5.4.2).

    An entry of an old term may be on a majority and still be replaced by a
    leader that never had it (Raft, Figure 8).

    Raises:
        Violation: The last entry that it commits is of another term.
    """
    if mark.term != term:
        raise Violation(NAME, f"{leader} commits {index} ({mark}) by counting, in term {term}")
