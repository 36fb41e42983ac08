"""A replica with damaged entries votes, and does not stand for election (ruling 20).

It may have nothing to give to those who lack just these entries. It can become
damaged while it leads; then it has an election timeout to be repaired in.
"""

from typing import Final

from chaos.check.violation import Violation
from raftlog.base.ids import NodeId

NAME: Final = "damaged_do_not_lead"


def check_candidate(node: NodeId, faulty: int) -> None:
    """Check that ``node`` may stand for election with so many damaged entries.

    Raises:
        Violation: It may not.
    """
    if faulty:
        raise Violation(NAME, f"{node} stands for election with {faulty} damaged entries")
