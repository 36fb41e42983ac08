"""Election safety: at most one leader in a term (Raft §5.2, Figure 3).

Whoever *acts* as leader counts, whether or not it says so: a node that sends
entries or heartbeats in a term claims the term.
"""

from typing import Final

from chaos.check.violation import Violation
from raftlog.base.ids import NodeId, Term

NAME: Final = "one_leader_per_term"


class OneLeaderPerTerm:
    """Remembers who led each term, for ever."""

    def __init__(self) -> None:
        self.leaders: dict[Term, NodeId] = {}

    def leads(self, node: NodeId, term: Term) -> None:
        """Take in that ``node`` acts as leader of ``term``.

        Raises:
            Violation: Another node did so in the same term.
        """
        known = self.leaders.setdefault(term, node)
        if known != node:
            raise Violation(NAME, f"{known} and {node} both lead term {term}")
