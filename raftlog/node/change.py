"""A change of the members that somebody waits for.

There is one at a time (Raft §4.1), and it is done when a configuration that is
not joint is committed at or after its entry. The leader that began it is the
only one who can say so for certain: if it loses leadership first, the next
leader finishes what is in its log, or drops it.
"""

from collections.abc import Callable

from raftlog.base.errors import OutcomeUnknown, RaftlogError
from raftlog.base.ids import INDEX_ZERO, Index
from raftlog.base.membership import Membership
from raftlog.node.outward import Outward

OnChanged = Callable[[Membership | RaftlogError], None]


class ChangeInProgress:
    """Who waits for the change that this leader has begun, if anybody does."""

    def __init__(self, outward: Outward) -> None:
        self._outward = outward
        self._index = INDEX_ZERO
        self._waiting: OnChanged | None = None

    def begun(
        self, result: Index | RaftlogError | None, membership: Membership, on_changed: OnChanged
    ) -> None:
        """Take in what the core answered; a refusal, or that all is so already, is told now."""
        assert result is not None, "the core did not answer a change of the members"
        if isinstance(result, RaftlogError):
            self._outward.call(on_changed, result)
        elif not result:
            self._outward.call(on_changed, membership)
        else:
            assert self._waiting is None, f"two changes at a time, since entry {self._index}"
            self._index, self._waiting = result, on_changed

    def settled(self, index: Index, membership: Membership) -> None:
        """A configuration that is not joint is committed at ``index``."""
        if self._waiting is not None and index >= self._index:
            self._end(membership)

    def leadership_lost(self, why: str) -> None:
        """This replica can't say any more what becomes of the change."""
        if self._waiting is not None:
            self._end(OutcomeUnknown(f"{why}; see what became of it: raftlog member list"))

    def _end(self, outcome: Membership | RaftlogError) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._outward.call(waiting, outcome)
