"""Leader completeness: a leader's log has every entry committed before it (Raft §5.4.3)."""

from typing import Final

from chaos.check.log_model import LogModel
from chaos.check.violation import Violation
from raftlog.base.ids import NodeId, Term

NAME: Final = "leader_completeness"


def check_leader(node: NodeId, term: Term, log: LogModel, committed: LogModel) -> None:
    """Check a leader's log at the moment of its election.

    ``committed`` is what was known to be committed then, all of it in earlier terms.

    Raises:
        Violation: The leader lacks some of it or has something else.
    """
    last = len(committed)
    if not last:
        return
    if log.marks[last - 1 : last] != committed.marks[last - 1 :]:
        raise Violation(
            NAME,
            f"{node} leads term {term} with a log that ends at {len(log)} and has not entry "
            f"{last} {committed.marks[last - 1]}, which is committed",
        )
