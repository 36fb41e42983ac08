"""A replica's log clock between the machine's clocks, its peers' messages, and its alarms."""

from collections.abc import Callable
from typing import Final

from raftlog.base.clock import Clock
from raftlog.base.ids import NodeId
from raftlog.base.membership import Membership
from raftlog.node.log_clock import LogClock
from raftlog.node.ports import Machine
from raftlog.raft.rpcs import HeartbeatReply, VoteReply

DISPUTED: Final = (
    "log time is behind the clocks of the voters, which do not agree within a second; it goes on "
    "from where it was until a majority's clocks are set right"
)


class ShardClock:
    """Log time, as this replica keeps it.

    Args:
        own: This node.
        clock: This machine's clocks.
        machine: Knows the stamp of the last entry that was applied.
        membership: Returns the members in force: whose clocks count.
        sound: Raises an alarm.
    """

    def __init__(
        self,
        own: NodeId,
        clock: Clock,
        machine: Machine,
        membership: Callable[[], Membership],
        sound: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._machine = machine
        self._membership = membership
        self._sound = sound
        self._time = LogClock(own)
        self._counted: Membership | None = None
        self._voters: frozenset[NodeId] = frozenset()
        self.applied()

    def heard(self, sender: NodeId, message: HeartbeatReply | VoteReply) -> None:
        """A message has brought the sender's wall clock."""
        self._time.heard(sender, message.wall_ms, self._clock.now_ns())

    def applied(self) -> None:
        """Somebody else's entries were applied."""
        self._time.applied(self._machine.log_time_ms, self._clock.now_ns())

    def stamp(self) -> int:
        """Return the log time of an entry that is made now, in milliseconds since 1970."""
        self._count()
        stamp = self._time.stamp(self._clock.now_ns(), self._clock.wall_ms(), self._voters)
        if self._time.is_disputed:
            self._sound(DISPUTED)
        return stamp

    def now_ms(self) -> int:
        """Return what an entry would be stamped with now; nothing is noted or sounded."""
        self._count()
        return self._time.now_ms(self._clock.now_ns(), self._clock.wall_ms(), self._voters)

    def _count(self) -> None:
        """Note whose clocks count."""
        membership = self._membership()
        if membership is not self._counted:
            self._counted = membership
            self._voters = frozenset(voter.node for voter in membership.voters)
