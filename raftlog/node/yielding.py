"""When a leader lets somebody else lead because an operator wishes so.

A drained leader hands over to a voter that is not drained. Nobody is left without a
leader for that: a transfer goes to a voter that answers, has everything that was in
the log at the look before, and has room on its disk; what fails is tried again, later
each time. Until it succeeds the leader leads on and serves.
"""

from collections.abc import Callable
from typing import Final

from raftlog.base.ids import Index, NodeId, Term
from raftlog.base.limits import YIELD_CALM_NS, YIELD_WAIT_NS_MAX, YIELD_WAIT_NS_MIN
from raftlog.base.space import DiskLevel
from raftlog.node.room import ShardRoom
from raftlog.raft.core import RaftCore
from raftlog.raft.leader import Leadership
from raftlog.raft.progress import Progress


class Yielding:
    """Looks at one replica while it leads.

    Args:
        core: What it leads with.
        room: How full the disks are.
        hand_over: Begins a transfer.
    """

    def __init__(
        self, core: RaftCore, room: ShardRoom, hand_over: Callable[[NodeId], None]
    ) -> None:
        self._core: Final = core
        self._room: Final = room
        self._hand_over: Final = hand_over
        self._term = Term(0)
        self._last = Index(0)
        """The log's end at the last look, in ``_term``."""
        self._wait_ns = YIELD_WAIT_NS_MIN
        self._tried_ns: int | None = None
        self.handovers = 0

    def begin_anew(self) -> None:
        """Something was decided: earlier failures do not count any more."""
        self._wait_ns = YIELD_WAIT_NS_MIN
        self._tried_ns = None

    def look(self, now_ns: int) -> None:
        """Hand over if somebody else should lead and can; called with time."""
        leadership = self._core.leadership
        if leadership is None:
            self._term = Term(0)
            return
        before, term = self._last, self._term
        self._last, self._term = self._core.log.last_index, leadership.term
        if term != leadership.term or leadership.transferee is not None:
            return
        if self._core.commit < leadership.first_index or self._is_too_soon(now_ns):
            return
        successor = self._successor(leadership, before)
        if successor is not None:
            self._note_attempt(now_ns)
            self._hand_over(successor)

    def _is_too_soon(self, now_ns: int) -> bool:
        return self._tried_ns is not None and now_ns - self._tried_ns < self._wait_ns

    def _note_attempt(self, now_ns: int) -> None:
        """Wait twice as long after each attempt, unless the one before was long ago."""
        if self._tried_ns is not None:
            is_calm = now_ns - self._tried_ns >= YIELD_CALM_NS
            self._wait_ns = (
                YIELD_WAIT_NS_MIN if is_calm else min(2 * self._wait_ns, YIELD_WAIT_NS_MAX)
            )
        self._tried_ns = now_ns
        self.handovers += 1

    def _successor(self, leadership: Leadership, before: Index) -> NodeId | None:
        if not self._core.is_aside:
            return None
        able = [
            (progress.match, node)
            for node, progress in leadership.followers.items()
            if self._could_lead(progress, before) and not progress.is_aside
        ]
        return max(able)[1] if able else None

    def _could_lead(self, progress: Progress, before: Index) -> bool:
        """Whether a voter answers, keeps up, and can store what it would take in."""
        return (
            progress.replica in self._core.membership.voters
            and progress.round > 0
            and (progress.active or progress.was_active)
            and progress.match >= before
            and self._room.of(progress.replica.node) is not DiskLevel.FULL
        )
