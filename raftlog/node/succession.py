"""When a leader's disk says that another should lead.

A leader whose disk hangs still sends and still commits, through the others; but
its memory fills, and nobody notices that it is half dead. So it hands over when
its disk has not answered for a second *and* another voter's disk has: where all
disks are slow, as on one machine, leadership stays where it is.

A leader whose disk is full hands over to one whose disk is not, while a majority
has room; if there is none, producers are refused and nothing moves.
"""

from collections.abc import Callable
from typing import Final

from raftlog.base.ids import NodeId
from raftlog.base.limits import DISK_STALL_NS
from raftlog.base.space import DiskLevel
from raftlog.node.room import ShardRoom
from raftlog.raft.core import RaftCore


class Succession:
    """Looks at one replica while it leads.

    Args:
        core: What it leads with.
        room: How full the disks are.
        hand_over: Begins a transfer.
        writing_since_ns: Since when the disk works on one thing; None if on nothing.
    """

    def __init__(
        self,
        core: RaftCore,
        room: ShardRoom,
        hand_over: Callable[[NodeId], None],
        *,
        writing_since_ns: Callable[[], int | None],
    ) -> None:
        self._core: Final = core
        self.room: Final = room
        self._writing_since_ns: Final = writing_since_ns
        self._hand_over: Final = hand_over
        self._not_before_ns = 0
        self.handovers = 0

    def is_stalled(self, now_ns: int) -> bool:
        """Whether the disk has been at one piece of work for too long."""
        since_ns = self._writing_since_ns()
        return since_ns is not None and now_ns - since_ns >= DISK_STALL_NS

    def look(self, now_ns: int) -> None:
        """Hand over if that is better; called with time."""
        leadership = self._core.leadership
        if leadership is None or leadership.transferee is not None:
            return
        if now_ns < self._not_before_ns:
            return
        successor = self._successor(now_ns)
        if successor is not None:
            self._not_before_ns = now_ns + DISK_STALL_NS
            self.handovers += 1
            self._hand_over(successor)

    def _successor(self, now_ns: int) -> NodeId | None:
        stalled = self.is_stalled(now_ns)
        full = self.room.own is DiskLevel.FULL
        if not stalled and not full:
            return None
        core, membership = self._core, self._core.membership
        if full and not stalled and self.room.level(membership) is DiskLevel.FULL:
            return None
        leadership = core.leadership
        followers = leadership.followers if leadership is not None else {}
        better = [
            (not progress.is_aside, progress.match, node)
            for node, progress in followers.items()
            if membership.is_voter(progress.replica)
            and self.room.of(node) is not DiskLevel.FULL
            and (progress.active or progress.was_active)
            and (not stalled or progress.match > core.durable)
        ]
        return max(better)[2] if better else None
