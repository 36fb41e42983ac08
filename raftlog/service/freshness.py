"""How old what is applied here may be: the bound of reads from followers (ruling 23).

A ReadIndex that was asked for at a moment and confirmed later says: what is
applied here now includes everything that was committed at that moment. It goes
on saying so. So one confirmation serves every read whose bound reaches back to
the moment at which it was asked for::

    ReadIndex asked      confirmed and applied            read, bound 1 s
    ----+-----------------------+------------------------------+---->
        |<------------- less than 1 s ------------------------>|  served at once

No clock of another node is in it, and no delay of the network is believed to be
short. A bound of zero is a linearizable read, from whichever replica.
"""

from typing import Final

from raftlog.base.errors import RaftlogError
from raftlog.node.ports import Scheduler
from raftlog.service.ports import OnReady, ShardReplica


class Freshness:
    """What is known about the age of one replica's applied state."""

    def __init__(self, replica: ShardReplica, scheduler: Scheduler) -> None:
        self._replica: Final = replica
        self._scheduler: Final = scheduler
        self._true_at_ns: int | None = None
        """A moment whose commits are all applied here."""
        self.confirmations = 0

    def ensure(self, staleness_ns: int, ready: OnReady) -> None:
        """Call ``ready`` once the applied state is at most so old, counted from now."""
        now_ns = self._scheduler.now_ns()
        known_ns = self._true_at_ns
        if staleness_ns and known_ns is not None and now_ns - known_ns <= staleness_ns:
            ready(None)
            return

        def confirmed(error: RaftlogError | None) -> None:
            if error is None:
                self.confirmations += 1
                self._true_at_ns = max(now_ns, self._true_at_ns or now_ns)
            ready(error)

        self._replica.read_index(confirmed)
