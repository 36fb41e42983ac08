"""Passing time: the leader sees to it that what is due is done, also when nobody sends anything.

What is due is done in apply, at the log time of an entry (ruling 8). While entries
come there is nothing to do here; else this proposes an entry that has nothing but its
log time::

    due at 50.0 s ... log time 49.2 s, 0.8 s ago --> PassTime --> apply does what is due

Log time now is taken to be that of the last entry and what has passed since. The stamp may
turn out a little earlier; then the rest is waited for. A new leader proposes one at once: after
a stop of the whole cluster log time jumps, by how much only a stamp can tell.
"""

from typing import Final

from raftlog.base.errors import RaftlogError
from raftlog.base.ids import Index, Term
from raftlog.broker.codec import write_command
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.timetable import NEVER_MS, PassTime
from raftlog.node.ports import Scheduler, Timer
from raftlog.service.log_time import NS_PER_MS, LogTime
from raftlog.service.ports import ShardReplica

RETRY_NS: Final = 100_000_000
"""After a refusal, for there is no room or the log is behind, it is proposed again."""
WAIT_MS_MAX: Final = 3_600_000


class PassingTime:
    """Proposes ``PassTime`` for one shard, while this node leads it."""

    def __init__(
        self, replica: ShardReplica, machine: BrokerMachine, scheduler: Scheduler
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._scheduler: Final = scheduler
        self._command: Final = write_command(PassTime())
        self._reign = 0
        self._leads = False
        self._waits = False
        """Whether a proposal is under way."""
        self._time: Final = LogTime(machine, scheduler)
        self._due_ms = NEVER_MS
        self._timer: Timer | None = None
        self.proposed = 0
        replica.on_applied(self._applied)

    def begin(self) -> None:
        """This node leads."""
        self.end()
        self._leads = True
        self._time.begin()
        if self._machine.next_due_ms != NEVER_MS:
            self._propose()

    def end(self) -> None:
        """Somebody else leads, or nobody."""
        self._leads = self._waits = False
        self._reign += 1
        self._disarm()

    @property
    def now_ms(self) -> int:
        """What log time is about now: that of the last entry, and what has passed since."""
        return self._time.now_ms()

    def pass_now(self) -> None:
        """Something waits for log time to pass that apply does not do by itself."""
        if self._leads:
            self._propose()

    def _disarm(self) -> None:
        self._due_ms = NEVER_MS
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _applied(self, _index: Index) -> None:
        if not self._leads:
            return
        machine = self._machine
        self._time.note()
        if machine.next_due_ms <= machine.log_time_ms:
            self._propose()
        elif machine.next_due_ms != self._due_ms:
            self._arm()

    def _arm(self) -> None:
        """Wake when log time has reached what is due next."""
        self._disarm()
        due_ms = self._machine.next_due_ms
        if due_ms == NEVER_MS or self._waits:
            return
        self._due_ms = due_ms
        left_ns = min(self._time.left_ns(due_ms), WAIT_MS_MAX * NS_PER_MS)
        self._timer = self._scheduler.call_later(left_ns, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._machine.next_due_ms <= self._time.now_ms():
            self._propose()
        else:
            self._arm()

    def _propose(self) -> None:
        """Propose one, unless one is under way."""
        if self._waits:
            return
        self._disarm()
        self._waits = True
        self.proposed += 1
        reign = self._reign

        def on_outcome(outcome: object, _term: Term, _index: Index) -> None:
            if reign != self._reign:
                return
            self._waits = False
            if isinstance(outcome, RaftlogError):
                self._timer = self._scheduler.call_later(RETRY_NS, self._wake)
            elif self._machine.next_due_ms <= self._machine.log_time_ms:
                self._propose()
            else:
                self._arm()

        self._replica.propose(self._command.type, self._command.parts, on_outcome)
