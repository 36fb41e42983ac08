"""Who waits for messages: the line of a group, and what those that stand in it have asked for."""

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from raftlog.node.ports import Scheduler, Timer
from raftlog.service.leased_bodies import Gathered

PAUSE_NS: Final = 2_000_000
"""Who got nothing although something seemed to be there looks again after so long."""


class Receive(msgspec.Struct, frozen=True, gc=False):
    """Lease up to ``count`` messages under ``handle``; wait for the first up to ``wait_ns``."""

    group: str
    handle: int
    count: int
    wait_ns: int = 0
    lease_ms: int | None = None


class Received(msgspec.Struct, frozen=True):
    """Leased messages with their bodies."""

    gathered: Gathered
    lease_ms: int
    """How long the leases are."""
    left_ms: int
    """How long the first of them lasts still: less than that, if it was asked again."""


class Waits(Protocol):
    """Who stands in a line."""

    stands_in_line: bool


W = TypeVar("W", bound=Waits)


class Line(Generic[W]):
    """Those that wait for the messages of one group, and those that are being served.

    Attributes:
        waiting: In the order in which they came.
        proposals: How many are under way.
        proposed: Messages that they ask for.
        pause_until_ns: Nothing is proposed before that.
        nothing_until_ns: Nothing that was never leased matches, as far as is known; then it is
            looked again.
        wakes: How often something has happened to the group.
        is_served: Whether somebody is in the middle of it: proposals may be refused at once.
    """

    def __init__(self) -> None:
        self.waiting: Final[deque[W]] = deque()
        self.proposals = 0
        self.proposed = 0
        self.pause_until_ns = 0
        self.nothing_until_ns = 0
        self.wakes = 0
        self.is_served = False
        self._timer: Timer | None = None
        self._timer_ns = 0

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits, and nothing is under way."""
        return not self.waiting and not self.proposals

    def wake(self) -> None:
        """Something has happened: what was said about now does not hold any more."""
        self.wakes += 1
        self.pause_until_ns = self.nothing_until_ns = 0

    def stand(self, receiving: W, *, first: bool) -> None:
        """Let somebody wait, last or first of all."""
        if first:
            self.waiting.appendleft(receiving)
        else:
            self.waiting.append(receiving)
        receiving.stands_in_line = True

    def leave(self, receiving: W) -> None:
        """Somebody waits no more."""
        self.waiting.remove(receiving)
        receiving.stands_in_line = False

    def arm(self, scheduler: Scheduler, at_ns: int, wake: Callable[[], None]) -> None:
        """Call ``wake`` at a time, and at no other one; 0: never."""
        if self._timer is not None and self._timer_ns == at_ns:
            return
        self.disarm()
        if at_ns:

            def due() -> None:
                self._timer = None
                wake()

            self._timer_ns = at_ns
            self._timer = scheduler.call_later(at_ns - scheduler.now_ns(), due)

    def disarm(self) -> None:
        """Call nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
