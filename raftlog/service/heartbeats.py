"""Heartbeats of group members: long polls that tell a new generation at once.

::

    member: "I live, and know generation 5"
       leader is at 6        --> the assignment of 6, at once
       leader is at 5        --> waits; woken by apply when 6 begins, else ends in time
       not a member          --> UnknownMember: join again
       in an earlier life    --> Fenced: another process runs as this member now
       this node follows     --> NotLeader: it keeps no sessions

What a heartbeat is told never goes back: a leader that has not applied yet what
the member saw with the leader before it first makes sure that it has.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from raftlog.base.errors import Fenced, NotLeader, RaftlogError, Throttled, UnknownMember
from raftlog.base.ids import Index
from raftlog.broker.group_commands import (
    Assignment,
)
from raftlog.broker.machine import BrokerMachine
from raftlog.node.ports import Scheduler
from raftlog.service.ports import ShardReplica
from raftlog.service.sessions import NS_PER_MS, Sessions
from raftlog.service.waiting import Waiter, Waiting

SESSION_SHARE: Final = 2
"""A heartbeat waits for at most a session's half, whatever it asked for: so its next one comes
in time."""


class Heartbeat(msgspec.Struct, frozen=True, gc=False):
    """What a member says."""

    group: str
    member: str
    generation: int
    wait_ns: int = 0
    life: int = 0


OnAssignment = Callable[[Assignment | RaftlogError], None]
"""Called once, on the loop, unless the heartbeat was cancelled."""


class HeartbeatService:
    """Answers the members of one shard's groups, while this node leads it."""

    def __init__(
        self,
        replica: ShardReplica,
        machine: BrokerMachine,
        sessions: Sessions,
        scheduler: Scheduler,
    ) -> None:
        self.replica: Final = replica
        self.machine: Final = machine
        self.sessions: Final = sessions
        self.scheduler: Final = scheduler
        self.waiting: Final[Waiting[str]] = Waiting(scheduler)
        self.heartbeats = 0
        replica.on_applied(self._applied)

    def heartbeat(self, heartbeat: Heartbeat, reply: OnAssignment) -> "Beating":
        """Note that a member lives; ``reply`` may be called before this returns."""
        self.heartbeats += 1
        beating = Beating(self, heartbeat, reply)
        beating.look(expired=False)
        return beating

    def leadership_lost(self) -> None:
        """Whoever waits here learns at once whom to ask now."""
        self.waiting.wake_all()

    def _applied(self, _index: Index) -> None:
        regrouped = self.machine.take_regrouped()
        if not regrouped:
            return
        # In order: a run of the simulator must not depend on the hashes of names.
        for group in sorted(regrouped):
            self.sessions.regrouped(group)
            self.waiting.wake(group)


class Beating:
    """One heartbeat under way."""

    __slots__ = (
        "_deadline_ns",
        "_ended",
        "_heartbeat",
        "_is_sure",
        "_reply",
        "_service",
        "_waiter",
    )

    def __init__(
        self, service: HeartbeatService, heartbeat: Heartbeat, reply: OnAssignment
    ) -> None:
        self._service = service
        self._heartbeat = heartbeat
        self._reply = reply
        self._ended = False
        self._is_sure = False
        self._waiter: Waiter[str] | None = None
        self._deadline_ns = service.scheduler.now_ns() + heartbeat.wait_ns

    def cancel(self) -> None:
        """Nobody wants the answer any more; ``reply`` is not called."""
        self._ended = True
        if self._waiter is not None:
            self._waiter.leave()

    def look(self, *, expired: bool) -> None:
        """Answer if there is something to say, else wait."""
        service, beat = self._service, self._heartbeat
        if self._ended:
            return
        if not service.sessions.leads:
            self._end(NotLeader(None if service.replica.leads else service.replica.leader))
            return
        group = service.machine.groups.get(beat.group)
        member = group.members.get(beat.member) if group is not None else None
        known = group is not None and member is not None and group.generation >= beat.generation
        known = known and member is not None and member.life >= beat.life
        if not known and not self._is_sure:
            self._make_sure()
        elif group is None or member is None or member.life < beat.life:
            self._end(UnknownMember(f"{beat.member!r} is no member of {beat.group!r}; join again"))
        elif member.life > beat.life:
            self._end(
                Fenced(f"a later process runs as member {beat.member!r} of group {beat.group!r}")
            )
        else:
            if self._waiter is None:  # woken is not heard
                service.sessions.heard(beat.group, beat.member, member.session_ms)
            if group.generation != beat.generation or expired:
                self._end(service.machine.groups.assignment(beat.group, beat.member))
            else:
                self._wait(member.session_ms)

    def _make_sure(self) -> None:
        """Look again when everything is applied that was committed before (ruling 23)."""
        self._is_sure = True

        def ready(error: RaftlogError | None) -> None:
            if error is None:
                self.look(expired=False)
            elif not self._ended:
                self._end(error)

        self._service.replica.read_index(ready)

    def _wait(self, session_ms: int) -> None:
        service = self._service
        left_ns = self._deadline_ns - service.scheduler.now_ns()
        left_ns = min(left_ns, session_ms * NS_PER_MS // SESSION_SHARE)
        if left_ns <= 0:
            self.look(expired=True)
        elif service.waiting.is_full:
            self._end(Throttled(f"{len(service.waiting)} heartbeats wait already", 1.0))
        else:
            self._waiter = service.waiting.add(
                self._heartbeat.group, left_ns, lambda late: self.look(expired=late)
            )

    def _end(self, answer: Assignment | RaftlogError) -> None:
        self._ended = True
        self._reply(answer)
