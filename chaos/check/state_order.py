"""What a replica has, in order: trimmed <= snapshot <= applied <= commit <= last; durable <= last.

While a replica waits for a state that leads to its log (it began anew from a
peer's snapshot), its log may begin behind what is applied; all else holds.
"""

from typing import Final

import msgspec

from chaos.check.violation import Violation
from raftlog.base.ids import Index, NodeId

NAME: Final = "state_order"


class StateOrder(msgspec.Struct, frozen=True):
    """One live replica, as an observer sees it between two events."""

    trimmed: Index
    """The entry that its log begins behind."""
    snapshot: Index
    """The newest state on its disk; 0: none."""
    applied: Index
    commit: Index
    durable: Index
    last: Index
    lacks_state: bool = False


def check_state_order(node: NodeId, state: StateOrder) -> None:
    """Check one replica.

    Raises:
        Violation: Something is ahead of what it stands on.
    """
    pairs = [
        ("applied", state.applied, "commit", state.commit),
        ("commit", state.commit, "last", state.last),
        ("durable", state.durable, "last", state.last),
        ("trimmed", state.trimmed, "last", state.last),
        ("trimmed", state.trimmed, "snapshot", state.snapshot),
    ]
    if not state.lacks_state:
        pairs.append(("trimmed", state.trimmed, "applied", state.applied))
    for lower, low, higher, high in pairs:
        if low > high:
            raise Violation(NAME, f"{node}: {lower} is {low}, {higher} is {high}")
