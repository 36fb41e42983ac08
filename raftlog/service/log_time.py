"""What log time it is between two entries: that of the last one, and what has passed since.

The stamp of the next entry may turn out a little earlier or later (ruling 8): whoever waits
for a log time looks again when an entry has brought it.
"""

from typing import Final

from raftlog.broker.machine import BrokerMachine
from raftlog.node.ports import Scheduler

NS_PER_MS: Final = 1_000_000


class LogTime:
    """Tells it for one shard; ``note`` is called when something was applied."""

    def __init__(self, machine: BrokerMachine, scheduler: Scheduler) -> None:
        self._machine: Final = machine
        self._scheduler: Final = scheduler
        self.noted_ms = -1
        """The log time of the last entry, as it was noted."""
        self._at_ns = 0

    def note(self) -> None:
        """An entry with another stamp may have been applied."""
        if self._machine.log_time_ms != self.noted_ms:
            self.begin()

    def begin(self) -> None:
        """Begin to count: the last entry's time is now."""
        self.noted_ms = self._machine.log_time_ms
        self._at_ns = self._scheduler.now_ns()

    def now_ms(self) -> int:
        """Return about what an entry would be stamped with now."""
        return self.noted_ms + (self._scheduler.now_ns() - self._at_ns) // NS_PER_MS

    def left_ns(self, log_time_ms: int) -> int:
        """Return in how long it will be that time; 0: it is."""
        passed_ns = self._scheduler.now_ns() - self._at_ns
        return max(0, (log_time_ms - self.noted_ms) * NS_PER_MS - passed_ns)
