"""When a leader lets somebody else lead because an operator wishes so.

A drained leader hands over to a voter that is not drained; a leader that is not
preferred, or less than another one, to that one. A wish costs no more than an
election without its timeout, and no leader: a transfer goes to a voter that answers,
has everything that was in the log at the look before, has room on its disk and is
not drained. Until it succeeds the leader leads on and serves.

Leadership does not flap. Who is preferred must have been well without a break for some
seconds: it answers, and its disk stores what it is sent; one that hangs for as long as
would take leadership from a leader (``succession.py``) is not well, and nor is one that
has just been started. And every attempt, failed or followed by coming back, makes the
next one wait twice as long, until one was long enough ago.
"""

from collections.abc import Callable
from typing import Final

from raftlog.base.ids import Index, NodeId, Term
from raftlog.base.limits import (
    DISK_STALL_NS,
    PREFER_STEADY_NS,
    YIELD_CALM_NS,
    YIELD_WAIT_NS_MAX,
    YIELD_WAIT_NS_MIN,
)
from raftlog.base.space import DiskLevel
from raftlog.node.room import ShardRoom
from raftlog.raft.core import RaftCore
from raftlog.raft.leader import Leadership
from raftlog.raft.precedence import rank_of
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
        self._moved: dict[NodeId, tuple[Index, int]] = {}
        """What each follower has stored, and when it last stored more or lacked nothing."""
        self._well_since_ns: dict[NodeId, int] = {}
        self._preferred: tuple[NodeId, ...] = ()
        self._wait_ns = YIELD_WAIT_NS_MIN
        self._tried_ns: int | None = None
        self.handovers = 0

    def begin_anew(self) -> None:
        """Something was decided: earlier failures do not count any more."""
        self._wait_ns = YIELD_WAIT_NS_MIN
        self._tried_ns = None

    def look(self, now_ns: int) -> None:
        """Hand over if somebody else should lead and can; called with time."""
        core, leadership = self._core, self._core.leadership
        if core.membership.preferred != self._preferred:
            self._preferred = core.membership.preferred
            self.begin_anew()
        if leadership is None:
            self._term = Term(0)
            return
        before, term = self._last, self._term
        self._last, self._term = core.log.last_index, leadership.term
        if term != leadership.term:
            self._moved.clear()
            self._well_since_ns.clear()
            return
        self._note_who_is_well(leadership, before, now_ns)
        if leadership.transferee is not None or core.commit < leadership.first_index:
            return
        if self._tried_ns is not None and now_ns - self._tried_ns < self._wait_ns:
            return
        successor = self._successor(leadership, before, now_ns)
        if successor is not None:
            self._note_attempt(now_ns)
            self._hand_over(successor)

    def _note_who_is_well(self, leadership: Leadership, before: Index, now_ns: int) -> None:
        moved, well = self._moved, self._well_since_ns
        for node, progress in leadership.followers.items():
            match, since_ns = moved.get(node, (Index(0), now_ns))
            if progress.match >= before or progress.match != match:
                since_ns = now_ns
            moved[node] = (progress.match, since_ns)
            if _answers(progress) and now_ns - since_ns < DISK_STALL_NS:
                well.setdefault(node, now_ns)
            else:
                well.pop(node, None)

    def _note_attempt(self, now_ns: int) -> None:
        """Wait twice as long after each attempt, unless the one before was long ago."""
        if self._tried_ns is not None:
            is_calm = now_ns - self._tried_ns >= YIELD_CALM_NS
            self._wait_ns = (
                YIELD_WAIT_NS_MIN if is_calm else min(2 * self._wait_ns, YIELD_WAIT_NS_MAX)
            )
        self._tried_ns = now_ns
        self.handovers += 1

    def _successor(self, leadership: Leadership, before: Index, now_ns: int) -> NodeId | None:
        core, membership = self._core, self._core.membership
        if not core.is_aside and not membership.preferred:
            return None
        mine = rank_of(membership, core.replica.node, is_aside=core.is_aside)
        since_ns = now_ns if core.is_aside else now_ns - PREFER_STEADY_NS
        better = [
            (rank, -progress.match, node)
            for node, progress in leadership.followers.items()
            if self._could_lead(progress, before)
            and self._well_since_ns.get(node, now_ns) <= since_ns
            and (rank := rank_of(membership, node, is_aside=False)) < mine
        ]
        return min(better)[2] if better else None

    def _could_lead(self, progress: Progress, before: Index) -> bool:
        """Whether a voter answers, keeps up, can store what it would take in, and is willing."""
        return (
            progress.replica in self._core.membership.voters
            and progress.round > 0
            and _answers(progress)
            and progress.match >= before
            and self._room.of(progress.replica.node) is not DiskLevel.FULL
            and not progress.is_aside
        )


def _answers(progress: Progress) -> bool:
    return progress.active or progress.was_active
