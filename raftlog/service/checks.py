"""Check-backs: members of a group ask for what they are to check, and answer.

::

    member: "anything for me?"          the leader lets it wait (a long poll)
    (7, 58) of the group is due         --> this member gets it, with its message
       "committed" / "rolled back"      --> decided, as its owner would have
       "unknown"                        --> counted in the log; asked again in 30 s
       nothing for 15 s                 --> another member gets it; nothing was counted

Who was asked, and when, is known here alone (ruling 25): a new leader asks anew at once,
and an answer that comes twice counts once, for it says which check it answers. When
something is due is said in log time; while nobody sends anything this makes it pass.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from raftlog.base.entry import Buffer
from raftlog.base.errors import BadRequest, NotLeader, RaftlogError, Throttled
from raftlog.base.limits import CHECKS_MAX, COALESCE_BYTES_MAX, DECISIONS_PER_COMMAND_MAX
from raftlog.broker.machine import BrokerMachine
from raftlog.broker.timetable import NEVER_MS
from raftlog.broker.transactions import (
    AnswerChecks,
    CheckAnswer,
    ChecksAnswered,
    Transaction,
)
from raftlog.node.ports import Scheduler, Timer
from raftlog.service.log_time import NS_PER_MS
from raftlog.service.passing_time import PassingTime
from raftlog.service.ports import ShardReplica, StoredBodies
from raftlog.service.proposing import Reply, propose
from raftlog.service.transactions import OpenRow, open_row
from raftlog.service.waiting import Waiter, Waiting
from raftlog.storage.span import Place

ASK_AGAIN_NS: Final = 15_000_000_000
"""A member that was asked and said nothing for so long is not waited for any more."""
CHECKS_PER_POLL_MAX: Final = 100
ROWS_PER_LOOK: Final = 100
LOOKS_PER_POLL: Final = 10
"""So far a poll goes through open transactions at once; those of other groups are among them."""
SOON_NS: Final = 20_000_000
LOOK_NS_MAX: Final = 1_000_000_000
LONG_AGO_NS: Final = -ASK_AGAIN_NS
GROUPS_MAX: Final = 10_000


class DueCheck(msgspec.Struct, frozen=True, gc=False):
    """What a member is asked: whose transaction, and its message."""

    open: OpenRow
    check: int
    """Which one it is, from 1."""
    batch: Buffer


OnChecks = Callable[[Sequence[DueCheck] | RaftlogError], None]
"""Called once, on the loop, unless the poll was cancelled; nothing was due: an empty list."""


class CheckService:
    """Has the members of one shard's transactor groups asked, while this node leads it."""

    def __init__(
        self,
        replica: ShardReplica,
        machine: BrokerMachine,
        bodies: StoredBodies,
        time: PassingTime,
        scheduler: Scheduler,
    ) -> None:
        self.replica: Final = replica
        self.machine: Final = machine
        self.bodies: Final = bodies
        self.time: Final = time
        self.scheduler: Final = scheduler
        self.waiting: Final[Waiting[str]] = Waiting(scheduler)
        self.leads = False
        self.asked = 0
        self._groups: Final[dict[str, _Asked]] = {}
        """Least recently polled first."""
        self._timer: Timer | None = None
        self._regrouped = 0

    def begin(self) -> None:
        """This node leads."""
        self.end()
        self.leads = True

    def end(self) -> None:
        """Somebody else leads, or nobody: whoever waits learns it."""
        self.leads = False
        self._groups.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.waiting.wake_all()

    def poll(self, group: str, wait_ns: int, count: int, reply: OnChecks) -> "Polling":
        """Tell what a member of ``group`` is to check; ``reply`` may be called at once."""
        count = min(count or CHECKS_PER_POLL_MAX, CHECKS_PER_POLL_MAX)
        polling = Polling(self, group, self.scheduler.now_ns() + wait_ns, count, reply)
        polling.look(expired=False)
        return polling

    def answer(
        self, group: str, answers: Sequence[CheckAnswer], reply: Reply[ChecksAnswered]
    ) -> None:
        """Take a member's answers, in one command; each has an outcome of its own."""
        if len(answers) > DECISIONS_PER_COMMAND_MAX:
            reply(
                BadRequest(f"{len(answers)} answers; {DECISIONS_PER_COMMAND_MAX} at once at most")
            )
            return
        propose(
            *(self.replica, lambda: AnswerChecks(group, tuple(answers))), *(ChecksAnswered, reply)
        )

    # -- what is due

    def take_due(self, group: str, count: int) -> list[Transaction]:
        """Return what is due and nobody was asked yet, or long ago; it counts as asked now."""
        self._heed_new_groups()
        asked = self._groups.pop(group, None) or _Asked()
        self._groups[group] = asked
        if len(self._groups) > GROUPS_MAX:
            self._groups.pop(next(iter(self._groups)))
        transactions, transactors = self.machine.state.transactions, self.machine.state.transactors
        now_ns = self.scheduler.now_ns()
        log_time_ms = self.machine.log_time_ms
        found: list[Transaction] = []
        for handle in asked.unanswered(now_ns, count):
            row = transactions.table.rows.get(handle)
            if row is not None and row.next_ms <= log_time_ms and row.checks < CHECKS_MAX:
                found.append(row)
        for _ in range(LOOKS_PER_POLL):
            if len(found) >= count:
                break
            rows, asked.after = transactions.to_check(log_time_ms, asked.after, ROWS_PER_LOOK)
            found += [row for row in rows if transactors.of(row.handle).group == group]
            if len(rows) < ROWS_PER_LOOK:
                break
        for row in found:
            asked.note(row.handle, now_ns)
        self.put_back(group, found[count:])
        self.asked += len(found[:count])
        return found[:count]

    def put_back(self, group: str, rows: Sequence[Transaction]) -> None:
        """Nobody was asked about these after all."""
        asked = self._groups.get(group)
        if asked is not None:
            for row in rows:
                asked.put_back(row.handle)

    def _heed_new_groups(self) -> None:
        """Begin anew if a transactor came to another group, which has looked past what is open."""
        seen = self.machine.state.transactors.regrouped
        if seen != self._regrouped:
            self._regrouped = seen
            for asked in self._groups.values():
                asked.after = 0

    def look_later(self) -> None:
        """Look again when something may be due, for whoever waits."""
        if self._timer is None and self.leads and len(self.waiting):
            delay_ns = self._until_next_ns()
            self._timer = self.scheduler.call_later(delay_ns, self._look)

    def _until_next_ns(self) -> int:
        due_ms = min(map(self._next_ms, self._polled()), default=NEVER_MS)
        if due_ms == NEVER_MS:
            return LOOK_NS_MAX
        left_ns = (due_ms - self.time.now_ms) * NS_PER_MS
        return min(max(left_ns, SOON_NS), LOOK_NS_MAX)

    def _polled(self) -> list[str]:
        """Return the groups of which a member waits."""
        return [group for group in self._groups if self.waiting.has(group)]

    def _next_ms(self, group: str) -> int:
        return self.machine.state.transactions.next_check_ms(self._groups[group].after)

    def _look(self) -> None:
        self._timer = None
        self._heed_new_groups()
        now_ns, now_ms = self.scheduler.now_ns(), self.time.now_ms
        is_late = False
        for group in self._polled():
            due_ms = self._next_ms(group)
            if due_ms <= self.machine.log_time_ms or self._groups[group].has_unanswered(now_ns):
                self.waiting.wake(group)
            else:
                is_late = is_late or due_ms <= now_ms
        if is_late:
            self.time.pass_now()
        self.look_later()


class _Asked:
    """What a group was asked: up to where in the order of checks, and what is unanswered."""

    def __init__(self) -> None:
        self.after = 0
        self._since: Final[dict[int, int]] = {}
        self._order: Final[deque[tuple[int, int]]] = deque()

    def note(self, handle: int, now_ns: int) -> None:
        self._since[handle] = now_ns
        self._order.append((now_ns, handle))

    def put_back(self, handle: int) -> None:
        self._since[handle] = LONG_AGO_NS
        self._order.appendleft((LONG_AGO_NS, handle))

    def has_unanswered(self, now_ns: int) -> bool:
        return bool(self._order) and self._order[0][0] + ASK_AGAIN_NS <= now_ns

    def unanswered(self, now_ns: int, count: int) -> list[int]:
        """Return some that were asked so long ago that another member is asked."""
        found: list[int] = []
        while self.has_unanswered(now_ns) and len(found) < count:
            at_ns, handle = self._order.popleft()
            if self._since.get(handle) == at_ns:
                del self._since[handle]
                found.append(handle)
        return found


class Polling:
    """One poll under way."""

    __slots__ = ("_count", "_deadline_ns", "_ended", "_group", "_reply", "_service", "_waiter")

    def __init__(
        self, service: CheckService, group: str, deadline_ns: int, count: int, reply: OnChecks
    ) -> None:
        self._service = service
        self._group = group
        self._deadline_ns = deadline_ns
        self._count = count
        self._reply = reply
        self._ended = False
        self._waiter: Waiter[str] | None = None

    def cancel(self) -> None:
        """Nobody wants the answer any more; ``reply`` is not called."""
        self._ended = True
        if self._waiter is not None:
            self._waiter.leave()

    def look(self, *, expired: bool) -> None:
        """Answer if something is due, else wait."""
        service = self._service
        if self._ended:
            return
        if not service.leads:
            self._end(NotLeader(None if service.replica.leads else service.replica.leader))
            return
        rows = service.take_due(self._group, self._count)
        left_ns = self._deadline_ns - service.scheduler.now_ns()
        if rows:
            self._read(rows)
        elif expired or left_ns <= 0:
            self._end([])
        elif service.waiting.is_full:
            self._end(Throttled(f"{len(service.waiting)} polls for checks wait already", 1.0))
        else:
            self._waiter = service.waiting.add(
                self._group, left_ns, lambda late: self.look(expired=late)
            )
            service.look_later()

    def _read(self, rows: list[Transaction]) -> None:
        """Read the messages, as many as fit into an answer; the others are asked later."""
        machine = self._service.machine
        hidden = {row.handle: machine.hidden.table.rows[row.queue, row.id] for row in rows}
        rows.sort(key=lambda row: (hidden[row.handle].index, hidden[row.handle].position))
        size = 0
        bodies: list[Buffer] = []
        places: list[Place] = []
        taken: list[Transaction] = []
        for row in rows:
            batch = hidden[row.handle]
            size += batch.length
            if taken and size > COALESCE_BYTES_MAX:
                break
            taken.append(row)
            entry = self._service.replica.tail(batch.index)
            if entry is None:
                places.append(Place(batch.index, batch.position, batch.length))
            else:
                bodies.append(entry.body[batch.position : batch.position + batch.length])
        self._service.put_back(self._group, rows[len(taken) :])
        found = [(open_row(machine, row), row.checks + 1) for row in taken]

        def on_bodies(stored: Sequence[Buffer], error: RaftlogError | None) -> None:
            if self._ended or error is not None:
                self._service.put_back(self._group, taken)
                if error is not None and not self._ended:
                    self._end(error)
                return
            # What is in memory is behind what is in files: the log's order is theirs.
            batches = [*stored, *bodies] if len(stored) == len(places) else list(stored)
            self._service.put_back(self._group, taken[len(batches) :])
            self._end(
                [DueCheck(*each, batch) for each, batch in zip(found, batches, strict=False)]
            )

        if places:
            self._service.bodies.read(places, on_bodies)
        else:
            on_bodies((), None)

    def _end(self, answer: Sequence[DueCheck] | RaftlogError) -> None:
        self._ended = True
        self._reply(answer)
