"""The free space of one node: looked at every second, off the loop (ruling 25)."""

from collections.abc import Callable
from typing import Final

from raftlog.base.errors import StorageFailed
from raftlog.base.limits import NO_ROOM_RETRY_NS, SPACE_LOOK_NS
from raftlog.base.space import DiskLevel, DiskLimits, Space, level_of
from raftlog.node.ports import Reader, Scheduler, Timer
from raftlog.storage.room import Reserve


class NodeSpace:
    """What this node's disk can still take, as far as is known. One for all its shards."""

    def __init__(self) -> None:
        self.level = DiskLevel.ROOM
        self.space = Space(0, 0)
        self.on_no_room: Callable[[], None] = lambda: None
        """Told when something found no room: give up the reserve."""


class SpaceWatch:
    """Looks at the disk, keeps the reserve, and gives it up.

    Args:
        node: Where to write down what it sees.
        measure: Asks the file system; blocks, may raise OSError.
        reserve: The node's reserve.
        limits: How full is full.
        reader: The thread for what blocks.
        scheduler: Time.
    """

    def __init__(
        self,
        node: NodeSpace,
        measure: Callable[[], Space],
        reserve: Reserve,
        limits: DiskLimits,
        reader: Reader,
        scheduler: Scheduler,
    ) -> None:
        self.on_level: Callable[[DiskLevel, Space], None] = lambda _level, _space: None
        self.on_failed: Callable[[Exception], None] = lambda _error: None
        self._node: Final = node
        self._measure: Final = measure
        self._reserve: Final = reserve
        self._limits: Final = limits
        self._reader: Final = reader
        self._scheduler: Final = scheduler
        self._timer: Timer | None = None
        self._released_at_ns: int | None = None
        self._stopped = False
        node.on_no_room = self._give_up_reserve

    def begin(self) -> None:
        """Look now, and from now on every second."""
        self._reader.submit(self._look, self._seen)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> tuple[Space, bool]:
        """Measure, and keep the reserve if there is room for it twice. On the reader thread."""
        space = self._measure()
        reserved = self._reserve.is_kept
        if not reserved and space.free >= 2 * self._reserve.size and not self._was_needed():
            reserved = self._reserve.keep()
            space = self._measure()
        return space, reserved

    def _was_needed(self) -> bool:
        """Whether it was given up a moment ago: who needs the room must find it."""
        at_ns = self._released_at_ns
        return at_ns is not None and self._scheduler.now_ns() - at_ns < 10 * SPACE_LOOK_NS

    def _seen(self, seen: tuple[Space, bool] | None, error: Exception | None) -> None:
        if self._stopped:
            return
        if isinstance(error, StorageFailed):
            self.on_failed(error)
            return
        if seen is not None:  # else the file system did not answer: what was known stays
            space, reserved = seen
            level = level_of(space, self._limits, reserved=reserved)
            before, self._node.level, self._node.space = self._node.level, level, space
            if level is not before:
                self.on_level(level, space)
        self._timer = self._scheduler.call_later(SPACE_LOOK_NS, self.begin)

    def _give_up_reserve(self) -> None:
        """Something found no room: whatever was measured last, the disk is full."""
        now_ns = self._scheduler.now_ns()
        first = self._released_at_ns is None
        if not first and now_ns - (self._released_at_ns or 0) < NO_ROOM_RETRY_NS:
            return
        self._released_at_ns = now_ns
        before, self._node.level = self._node.level, DiskLevel.FULL
        if before is not DiskLevel.FULL:
            self.on_level(DiskLevel.FULL, self._node.space)
        self._reader.submit(self._reserve.release, lambda _released, _error: None)
