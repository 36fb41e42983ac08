"""A replica begins a term only if it may (Raft §3.10, §9.6).

It was asked to by its leader, or was granted pre-votes; and its last vote is on
disk, or a disk that hangs would make it raise the term again and again, and every
other candidate give up.
"""

from typing import Final

from chaos.check.violation import Violation
from raftlog.base.ids import NodeId, Term

NAME: Final = "new_terms"


def check_new_term(node: NodeId, term: Term, durable: Term, *, was_asked: bool) -> None:
    """Check that ``node``, in ``term`` and on disk in ``durable``, may begin another.

    Raises:
        Violation: It may not.
    """
    if not was_asked:
        raise Violation(NAME, f"{node} begins a term after {term}, and nobody has agreed to it")
    if durable < term:
        raise Violation(NAME, f"{node} begins a term after {term}; on its disk is {durable}")
