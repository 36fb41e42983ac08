"""Time, as a core is told of it: whole ticks, from its start on (ruling 36).

The shell sleeps until the core may have something to do by time alone. Mail
comes before time: a process that stood still reads what has arrived before it
believes that nobody wrote.
"""

from collections.abc import Callable
from typing import Final

from raftlog.base.limits import APPLY_BUDGET_NS, TICK_NS
from raftlog.node.ports import Scheduler, Timer
from raftlog.raft.core import RaftCore
from raftlog.raft.events import Event, Tick

LATE_TICKS: Final = 20
"""A timer that fires so late means that the process stood still."""


class Ticking:
    """One core's clock. Before ``begin`` and after ``end`` no time passes."""

    def __init__(
        self,
        core: RaftCore,
        scheduler: Scheduler,
        *,
        step: Callable[[Event], None],
        after: Callable[[int], None],
    ) -> None:
        self._core = core
        self._scheduler = scheduler
        self._step = step
        self._after = after
        self._counted_to_ns: int | None = None
        """The moment up to which the core was told; None while no time passes."""
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Count from now on: peers may have written before, but no patience was used up."""
        self._counted_to_ns = self._scheduler.now_ns()
        self.arm()

    def end(self) -> None:
        """Count no more."""
        self._counted_to_ns = None
        self.arm()

    def arm(self) -> None:
        """Sleep until the core may have something to do by time alone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._counted_to_ns is None:
            return
        due_ns = self._counted_to_ns + self._core.next_deadline() * TICK_NS
        delay_ns = max(0, due_ns - self._scheduler.now_ns())
        self._timer = self._scheduler.call_later(delay_ns, self._on_timer)

    def pass_quiet_time(self) -> None:
        """Count the time before a message as before it, as far as nothing happens by it alone.

        A heartbeat resets the follower's patience. Ticks of the time before it
        that were counted after it would use that patience up again; what is
        passed here stops short of every deadline, so mail still comes first
        after a pause.
        """
        if self._counted_to_ns is None:
            return
        ticks = (self._scheduler.now_ns() - self._counted_to_ns) // TICK_NS
        if ticks > 0:
            quiet = min(ticks, self._core.next_deadline() - 1)
            if quiet > 0:
                self._counted_to_ns += quiet * TICK_NS
                self._step(Tick(quiet))

    def _on_timer(self) -> None:
        if self._counted_to_ns is None:
            return
        ticks = (self._scheduler.now_ns() - self._counted_to_ns) // TICK_NS
        if ticks > self._core.next_deadline() + LATE_TICKS:
            self._timer = self._scheduler.call_later(APPLY_BUDGET_NS, self._tick)
            return
        self._tick()

    def _tick(self) -> None:
        if self._counted_to_ns is None:
            return
        now_ns = self._scheduler.now_ns()
        ticks = (now_ns - self._counted_to_ns) // TICK_NS
        patience = self._core.config.election_ticks_min - 1
        if ticks > patience:
            ticks = patience
            self._counted_to_ns = now_ns
        else:
            self._counted_to_ns += ticks * TICK_NS
        if ticks > 0:
            self._step(Tick(ticks))
        self._after(now_ns)
        self.arm()
