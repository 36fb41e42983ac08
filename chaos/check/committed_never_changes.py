"""What was committed once is committed for ever, and the same everywhere (Raft §5.4.3).

Holds the one committed log. Everybody who claims a commit adds to it or must
agree with it.
"""

from typing import Final

from chaos.check.log_model import LogModel, Mark
from chaos.check.violation import Violation
from raftlog.base.ids import Index, NodeId

NAME: Final = "committed_never_changes"


class CommittedLog:
    """The committed prefix that the observed nodes have claimed so far."""

    def __init__(self) -> None:
        self.log = LogModel()

    @property
    def end(self) -> Index:
        """The last index known to be committed."""
        return Index(len(self.log))

    def committed(self, node: NodeId, index: Index, mark: Mark) -> bool:
        """Take in that ``node`` takes the entry at ``index`` for committed.

        Returns whether that is news. Claims arrive in index order per node.

        Raises:
            Violation: Another entry was committed there.
        """
        known = self.log.at(index)
        if known is None:
            assert index == self.end + 1, f"commit of {index} is claimed before {self.end + 1}"
            self.log.marks.append(mark)
            return True
        if known != mark:
            raise Violation(
                NAME, f"{node} commits {mark} at {index}, where {known} was committed before"
            )
        return False
