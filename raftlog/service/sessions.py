"""Sessions: which members of groups have been heard of lately. The leader's own, soft state.

Heartbeats are no log entries (ruling 25). The leader keeps when it last heard
of each member, loses it with its leadership, and makes a silence a fact only by
proposing ``LeaveGroup``. A new leader has heard of nobody yet, so it begins by
giving every member a full session::

    n1 leads   m beats  m beats   n1 dies      n2 leads: m has a session from here
    --------------+--------+---------x............|-------------------->
                                     m looks for the leader, and beats at n2

A process that stood still did not hear anybody: a timer that fires late gives
every member a full session again.

Deadlines lie in a heap. A heartbeat does not move its entry: the entry is looked
at when it is due, and put back for as long as the member has left.
"""

from heapq import heappop, heappush
from typing import Final

from raftlog.broker.group_commands import (
    LeaveGroup,
)
from raftlog.broker.machine import BrokerMachine
from raftlog.node.ports import Scheduler, Timer
from raftlog.service.ports import ShardReplica
from raftlog.service.proposing import propose_unheard

ADOPTED_GROUPS_MAX: Final = 100
"""Groups of which a new leader takes the members in, in one turn of the loop."""
DUE_MAX: Final = 1_000
"""Deadlines that are looked at in one turn."""
TICK_NS: Final = 50_000_000
"""Deadlines are looked at together, at most so much late."""
NS_PER_MS: Final = 1_000_000
LATE_NS: Final = 1_000_000_000
"""A timer that fires so late means that the process stood still."""


class _Session:
    """One member: when it was heard of, and which of the deadlines is its own."""

    __slots__ = ("due_ns", "heard_ns")

    def __init__(self, heard_ns: int, due_ns: int) -> None:
        self.heard_ns = heard_ns
        self.due_ns = due_ns


class Sessions:
    """The members of one shard's groups, as far as this node leads it."""

    def __init__(
        self, replica: ShardReplica, machine: BrokerMachine, scheduler: Scheduler
    ) -> None:
        self._replica: Final = replica
        self._machine: Final = machine
        self._scheduler: Final = scheduler
        self._groups: Final[dict[str, dict[str, _Session]]] = {}
        self._deadlines: Final[list[tuple[int, str, str]]] = []
        self.leads = False
        """Whether this node leads the shard, and so keeps sessions."""
        self._reign = 0
        self._since_ns = 0
        self._due_ns = 0
        self._timer: Timer | None = None
        self.expired = 0

    def __len__(self) -> int:
        """Count the members with a session."""
        return sum(map(len, self._groups.values()))

    # -- leadership

    def begin(self) -> None:
        """This node leads: give every member a full session."""
        self.end()
        self.leads = True
        self._since_ns = self._scheduler.now_ns()
        self._adopt(self._reign, "")

    def end(self) -> None:
        """Somebody else leads, or nobody: it is not for this node to say who is silent."""
        self.leads = False
        self._reign += 1
        self._groups.clear()
        self._deadlines.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _adopt(self, reign: int, after: str) -> None:
        """Take in the members that there are, a few groups in each turn."""
        if reign != self._reign:
            return
        names = [group.name for group in self._machine.groups.after(after, ADOPTED_GROUPS_MAX)]
        for name in names:
            self.regrouped(name)
        if names:
            self._scheduler.call_soon(lambda: self._adopt(reign, names[-1]))

    # -- what is heard

    def heard(self, group: str, member: str, session_ms: int) -> None:
        """A member lives."""
        if not self.leads:
            return
        now_ns = self._scheduler.now_ns()
        members = self._groups.setdefault(group, {})
        session = members.get(member)
        if session is not None:
            session.heard_ns = now_ns
            if now_ns + session_ms * NS_PER_MS < session.due_ns:  # it has come with a shorter one
                self._wait_until(now_ns + session_ms * NS_PER_MS, group, member, session)
            return
        session = members[member] = _Session(now_ns, 0)
        self._wait_until(now_ns + session_ms * NS_PER_MS, group, member, session)

    def regrouped(self, name: str) -> None:
        """The members of a group have changed, or it is gone."""
        if not self.leads:
            return
        group = self._machine.groups.get(name)
        now = group.members if group is not None else {}
        members = self._groups.get(name, {})
        for member in [member for member in members if member not in now]:
            del members[member]
        if not members:
            self._groups.pop(name, None)
        for member, row in now.items():
            if member not in members:
                self.heard(name, member, row.session_ms)

    # -- deadlines

    def _wait_until(self, at_ns: int, group: str, member: str, session: _Session) -> None:
        session.due_ns = at_ns
        heappush(self._deadlines, (at_ns, group, member))
        self._arm()

    def _arm(self) -> None:
        if not self._deadlines:
            return
        due_ns = self._deadlines[0][0] + TICK_NS
        if self._timer is not None:
            if due_ns + TICK_NS >= self._due_ns:
                return
            self._timer.cancel()
        self._due_ns = due_ns
        delay_ns = max(0, due_ns - self._scheduler.now_ns())
        self._timer = self._scheduler.call_later(delay_ns, self._look)

    def _look(self) -> None:
        """Look at the members whose time may be up."""
        self._timer = None
        now_ns = self._scheduler.now_ns()
        if now_ns - self._due_ns > LATE_NS:
            self._since_ns = now_ns
        due: list[tuple[int, str, str]] = []
        while self._deadlines and self._deadlines[0][0] <= now_ns and len(due) < DUE_MAX:
            due.append(heappop(self._deadlines))
        for at_ns, group, member in due:
            session = self._groups.get(group, {}).get(member)
            if session is not None and session.due_ns == at_ns:  # else it has left since
                self._look_at(group, member, session, now_ns)
        self._arm()

    def _look_at(self, name: str, member: str, session: _Session, now_ns: int) -> None:
        group = self._machine.groups.get(name)
        row = group.members.get(member) if group is not None else None
        if row is None:
            return
        session_ns = row.session_ms * NS_PER_MS
        until_ns = max(session.heard_ns, self._since_ns) + session_ns
        if until_ns <= now_ns:
            self.expired += 1
            propose_unheard(self._replica, LeaveGroup(name, member, expired=True, life=row.life))
            # If nothing comes of it, it is proposed again after another session.
            until_ns = now_ns + session_ns
        self._wait_until(until_ns, name, member, session)
