"""A leader that hands over takes nothing in (Raft §3.10).

What it took would lie behind the log that its successor has caught up with: the
successor would lose the election, or the proposal its place.
"""

from typing import Final

from chaos.check.violation import Violation
from raftlog.base.ids import NodeId
from raftlog.raft.leader import Leadership

NAME: Final = "handover"


def check_takes_in(node: NodeId, leadership: Leadership | None) -> None:
    """Check that ``node`` may have taken a proposal in.

    Raises:
        Violation: It is handing over, or does not lead.
    """
    if leadership is None or leadership.transferee is not None:
        to = None if leadership is None else leadership.transferee
        raise Violation(NAME, f"{node} takes a proposal in while it hands over to {to}")
