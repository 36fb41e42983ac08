"""What a replica has, in order: trimmed <= snapshot <= applied <= commit <= last; durable <= last.

While a replica waits for a state that leads to its log (it began anew from a
peer's snapshot), its log may begin behind what is applied. What a peer has sent
leads there, and gets the name of one of its own a moment before the machine has
it; no later than that all of it is known to be committed here. All else holds.

A start takes the newest snapshot, or damage was done to that: one that was passed
over stays on the disk, and apply may take long to reach it.
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
    """The newest state on its disk that is of its log, but for what was passed over; 0: none."""
    applied: Index
    commit: Index
    durable: Index
    last: Index
    fetched: Index = Index(0)
    """The newest state on its disk that a peer has sent, whole; 0: none."""
    passed_over: Index = Index(0)
    """The newest state of its log that its start found and did not take; 0: none."""
    known: Index | None = None
    """The last entry that is committed, as far as any replica has ever known."""
    lacks_state: bool = False
    """Whether its log does not lead on from what is applied."""
    is_stuck: bool = False
    """Whether apply stands before damage, so that it may be given a peer's state."""
    is_damaged: bool = False
    """Whether damage was done to its disk."""


def check_state_order(node: NodeId, state: StateOrder) -> None:
    """Check one replica.

    Raises:
        Violation: Something is ahead of what it stands on.
    """
    pairs = [
        ("applied", state.applied, "commit", state.commit),
        ("trimmed", state.trimmed, "commit", state.commit),
        ("commit", state.commit, "last", state.last),
        ("durable", state.durable, "last", state.last),
    ]
    if state.lacks_state:
        newest = max(state.snapshot, state.fetched, state.passed_over)
        pairs.append(("trimmed", state.trimmed, "what it was sent", newest))
    else:
        newest = max(state.snapshot, state.passed_over)
        pairs.append(("trimmed", state.trimmed, "snapshot", newest))
        pairs.append(("trimmed", state.trimmed, "applied", state.applied))
    if state.lacks_state or state.is_stuck:
        pairs.append(("snapshot", state.snapshot, "commit", state.commit))
    else:
        pairs.append(("snapshot", state.snapshot, "applied", state.applied))
    if state.known is not None:
        sent = max(state.snapshot, state.fetched)
        pairs.append(("a state here", sent, "what is committed anywhere", state.known))
    for lower, low, higher, high in pairs:
        if low > high:
            raise Violation(NAME, f"{node}: {lower} is {low}, {higher} is {high}")
    if state.passed_over and not state.is_damaged:
        raise Violation(NAME, f"{node}: a good state at {state.passed_over} was passed over")
