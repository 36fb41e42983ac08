"""Log time: the one clock by which every replica decides (ruling 8).

The leader stamps entries; apply knows no other time. Its own wall clock may be
wrong, and the next leader's wrong in another way, so a stamp is::

    the stamp before it + the monotonic time since     never back
    steered towards the lower median of the voters'    at most a tenth faster or slower
    wall clocks, which votes and heartbeats carry
    moved forward at once by more than a second        only if a majority's clocks agree

A clock that jumped moves nothing as long as a majority's are right. If no
majority agrees, log time goes on at its own pace and an alarm says so.
"""

from collections.abc import Collection
from typing import Final

from raftlog.base.ids import NodeId

MS_NS: Final = 1_000_000
STEP_NS: Final = 1_000 * MS_NS
"""Clocks that are nearer to each other agree; a gap beyond it is not steered away."""
STEERING: Final = 10
"""Log time runs faster or slower by one part in so many, at most."""
HEARD_NS: Final = 5_000 * MS_NS
"""What was heard of a clock longer ago is not used: it may have been set since."""


class LogClock:
    """The log time of one shard, as this replica would stamp it.

    Monotonic times (``now_ns``) are this process's; a wall clock is milliseconds
    since 1970.
    """

    def __init__(self, own: NodeId) -> None:
        self._own: Final = own
        self._time_ns = 0
        """Log time at ``_at_ns``; 0: no entry was stamped yet."""
        self._at_ns = 0
        self._offsets_ns: dict[NodeId, tuple[int, int]] = {}
        """Others' wall clocks minus our monotonic one, and when that was heard."""
        self.is_disputed = False
        """Whether log time is far behind the clocks and they do not agree by how much."""

    def applied(self, log_time_ms: int, now_ns: int) -> None:
        """An entry with this stamp was applied here just now."""
        if log_time_ms * MS_NS > self._time_ns:
            self._time_ns, self._at_ns = log_time_ms * MS_NS, now_ns

    def heard(self, node: NodeId, wall_ms: int, now_ns: int) -> None:
        """The wall clock of ``node`` shows this, or did a moment ago."""
        self._offsets_ns[node] = (wall_ms * MS_NS - now_ns, now_ns)

    def stamp(self, now_ns: int, own_wall_ms: int, voters: Collection[NodeId]) -> int:
        """Return the stamp for the next entry, in milliseconds since 1970."""
        time_ns, self.is_disputed = self._next(now_ns, own_wall_ms, voters)
        self._time_ns, self._at_ns = time_ns, now_ns
        return time_ns // MS_NS

    def now_ms(self, now_ns: int, own_wall_ms: int, voters: Collection[NodeId]) -> int:
        """Return what ``stamp`` would, and leave no trace: somebody only looks."""
        return self._next(now_ns, own_wall_ms, voters)[0] // MS_NS

    def _next(self, now_ns: int, own_wall_ms: int, voters: Collection[NodeId]) -> tuple[int, bool]:
        """Return log time at ``now_ns``, and whether it is disputed."""
        offsets = self._offsets(now_ns, own_wall_ms, voters)
        median = offsets[(len(offsets) - 1) // 2]
        passed = now_ns - self._at_ns
        time_ns = self._time_ns + passed
        ahead = median + now_ns - time_ns
        majority = len(voters) // 2 + 1
        if not self._time_ns:
            # Nothing was timed by any clock yet: any beginning is right.
            return time_ns + ahead, False
        if ahead > STEP_NS:
            agree = sum(abs(offset - median) <= STEP_NS for offset in offsets) >= majority
            return (time_ns + ahead, False) if agree else (time_ns, True)
        if len(offsets) >= majority:
            slack = passed // STEERING
            time_ns += max(-slack, min(slack, ahead))
        return time_ns, False

    def _offsets(self, now_ns: int, own_wall_ms: int, voters: Collection[NodeId]) -> list[int]:
        """Return the known wall clocks of voters minus our monotonic one, in order."""
        offsets = []
        for node, (offset, heard_ns) in self._offsets_ns.items():
            if node in voters and node != self._own and now_ns - heard_ns <= HEARD_NS:
                offsets.append(offset)
        if self._own in voters or not offsets:
            offsets.append(own_wall_ms * MS_NS - now_ns)
        offsets.sort()
        return offsets
