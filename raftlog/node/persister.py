"""Group commit: everything that waits becomes one plan for the writer thread.

While the disk works on one plan, whatever else is asked for piles up and
becomes the next one; nothing waits for company when the disk is idle. Reports
go to the core as write numbers, in order (ruling 4). An error is final: the
store is in an unknown state and the replica stops (R2). Only want of space is
not: what found no room is tried again until it finds some, and everything behind
it waits, as behind a slow disk. Other work on the store, as a trim or a repair, takes turns
with the writes.
"""

from collections.abc import Callable

from raftlog.base.errors import NoRoom, RaftlogError
from raftlog.base.ids import Index, WriteNumber
from raftlog.base.limits import MARK_IDLE_NS, NO_ROOM_RETRY_NS
from raftlog.base.writes import ResetLog, Write
from raftlog.node.ports import Plan, Scheduler, Writer
from raftlog.storage.log_store import LogStore
from raftlog.storage.plan import StorePlan


class Persister:
    """Feeds one store's writer. One plan is under way at a time."""

    def __init__(
        self,
        store: LogStore,
        writer: Writer,
        scheduler: Scheduler,
        *,
        commit_hint: Callable[[], Index],
        on_durable: Callable[[WriteNumber], None],
        on_done: Callable[[], None],
        on_failed: Callable[[Exception], None],
        on_no_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._writer = writer
        self._scheduler = scheduler
        self._commit_hint = commit_hint
        self._on_durable = on_durable
        self._on_done = on_done
        self._on_failed = on_failed
        self._on_no_room = on_no_room
        self._pending: list[Write] = []
        self._errands: list[Callable[[], StorePlan | None]] = []
        self._errand_is_due = False
        """Whether errands have waited for a plan of writes."""
        self._scheduled = False
        self._worked_at_ns = 0
        self._mark_armed = False
        self.under_way: StorePlan | None = None
        self.since_ns: int | None = None
        """When the plan that is under way was given to the writer."""
        self.closed = False
        self.error: Exception | None = None
        """What ended the writing: the store is not what its files hold, and must not be closed."""

    @property
    def idle(self) -> bool:
        """Whether nothing is being written and nothing waits."""
        return self.under_way is None and not self._pending and not self._errands

    def add(self, writes: list[Write]) -> None:
        """Queue writes; they start in the next turn of the loop at the latest."""
        self._pending.extend(writes)
        self._schedule()

    def errand(self, plan: Callable[[], StorePlan | None]) -> None:
        """Queue other work on the store: ``plan`` is called when its turn has come."""
        self._errands.append(plan)
        self._schedule()

    def _schedule(self) -> None:
        if self.under_way is None and not self._scheduled and self.error is None:
            self._scheduled = True
            self._scheduler.defer(self._begin)

    def _begin(self) -> None:
        self._scheduled = False
        if self.under_way is not None or self.error is not None or self.closed:
            return
        try:
            plan = self._plan()
        except (AssertionError, RaftlogError) as error:
            # Half planned: what the store believes is not what its files hold. A replica that
            # went on would lead, or count as alive, without ever writing again.
            self.error = error
            self._on_failed(error)
            return
        if plan is not None:
            self._submit(plan)

    def _plan(self) -> StorePlan | None:
        # By turns: where the disk is never idle, errands would wait for ever. But what the core
        # believes of where the log begins is what the store does only behind a reset.
        is_due = self._errand_is_due and not any(isinstance(w, ResetLog) for w in self._pending)
        plan = self._plan_errand() if is_due or not self._pending else None
        self._errand_is_due = False
        if plan is None and self._pending:
            writes, self._pending = self._pending, []
            self._errand_is_due = bool(self._errands)
            plan = self._store.plan(writes, self._commit_hint())
        return plan

    def _plan_errand(self) -> StorePlan | None:
        plan: StorePlan | None = None
        while plan is None and self._errands:
            plan = self._errands.pop(0)()
        return plan

    def _submit(self, plan: StorePlan) -> None:
        self.under_way = plan
        self.since_ns = self._scheduler.now_ns()
        self._perform(plan)

    def _perform(self, plan: StorePlan) -> None:
        work: Plan = plan
        self._writer.submit(work, self._done)

    def _done(self, error: Exception | None) -> None:
        plan = self.under_way
        assert plan is not None, "the writer finished what was never begun"
        if isinstance(error, NoRoom) and not self.closed:
            self._on_no_room()
            self._scheduler.call_later(NO_ROOM_RETRY_NS, lambda: self._try_again(error))
            return
        self.under_way = None
        self.since_ns = None
        if error is not None:
            self.error = error
            if not self.closed:
                self._on_failed(error)
            return
        # Also of a replica that was stopped meanwhile: who closes the log plans once more.
        self._store.complete(plan)
        if self.closed:
            return
        self._worked_at_ns = self._scheduler.now_ns()
        # The next plan is begun before the report is acted on: the disk must not wait for us.
        if self._pending or self._errands:
            self._begin()
        elif not self._mark_armed:
            self._arm_mark(MARK_IDLE_NS)
        if plan.last_write:
            self._on_durable(plan.last_write)
        # Also after work that made nothing durable: commands may have gathered meanwhile.
        self._on_done()

    def _try_again(self, error: Exception) -> None:
        """Go on where there was no room."""
        plan = self.under_way
        assert plan is not None, "what found no room has ended by itself"
        if self.closed:
            self.under_way = None
            self.error = error
        else:
            self._perform(plan)

    def _arm_mark(self, delay_ns: int) -> None:
        self._mark_armed = True
        self._scheduler.call_later(delay_ns, self._sync_mark)

    def _sync_mark(self) -> None:
        """After 20 ms of quiet the durable mark itself is made durable (ruling 2)."""
        self._mark_armed = False
        if self.error is not None or self.closed:
            return
        quiet_ns = self._scheduler.now_ns() - self._worked_at_ns
        if not self.idle or quiet_ns < MARK_IDLE_NS:
            self._arm_mark(max(MARK_IDLE_NS - quiet_ns, MARK_IDLE_NS // 4))
            return
        plan = self._store.plan_mark()
        if plan is not None:
            self._submit(plan)
