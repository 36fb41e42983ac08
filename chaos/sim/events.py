"""Virtual time: a heap of calls, and one stream of random numbers per concern.

Two calls due at one moment are made in the order in which they were asked for,
so a run depends on the seed and on nothing else. A stream per concern keeps
seeds comparable: more random numbers drawn for the network do not change what
the disks do.
"""

import hashlib
from array import array
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Final, Protocol

from chaos.check.bounded_work import BoundedWork

SECOND_NS: Final = 1_000_000_000
MS_NS: Final = 1_000_000
EVENTS_AT_ONCE_MAX: Final = 100_000
"""More events at one moment are a loop that waits for nothing."""
STEPS_KEPT: Final = 1 << 13
"""So many numbers are taken into the digest at once: that is faster."""


class Holder(Protocol):
    """Somebody whose calls may have to wait, or are made no more."""

    hindered: bool
    """Whether ``takes`` must be asked."""

    def takes(self, alarm: "Alarm") -> bool:
        """Take over a call that is due, or drop it; False: make it now."""


class Alarm:
    """A call that is due at some time; cancelling makes it harmless."""

    __slots__ = ("call", "holder", "is_late")

    def __init__(self, call: Callable[[], None], holder: Holder | None = None) -> None:
        self.call: Callable[[], None] | None = call
        self.holder = holder
        self.is_late = False
        """Whether its holder has made it wait already."""

    def cancel(self) -> None:
        """Forget the call."""
        self.call = None


class EventQueue:
    """Everything that will happen, in order. Integer nanoseconds from 0."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.events = 0
        self._at_once = 0
        self._sequence = 0
        self._heap: list[tuple[int, int, Alarm]] = []
        self._work = BoundedWork()
        self._trace = hashlib.blake2b(digest_size=16)
        self._steps = array("Q")
        """Moments and numbers of the last calls, not in the digest yet."""

    def at(self, time_ns: int, call: Callable[[], None], holder: Holder | None = None) -> Alarm:
        """Make ``call`` at ``time_ns``, or now if that has passed; ``holder`` may hold it up."""
        self._sequence = sequence = self._sequence + 1
        alarm = Alarm(call, holder)
        heappush(self._heap, (max(self.now_ns, time_ns), sequence, alarm))
        return alarm

    def put(self, time_ns: int, alarm: Alarm) -> None:
        """Let an alarm go off at ``time_ns``, or now if that has passed."""
        self._sequence = sequence = self._sequence + 1
        now_ns = self.now_ns
        heappush(self._heap, (max(now_ns, time_ns), sequence, alarm))

    def after(self, delay_ns: int, call: Callable[[], None]) -> Alarm:
        """Make ``call`` after ``delay_ns``."""
        return self.at(self.now_ns + delay_ns, call)

    def run_until(self, time_ns: int) -> None:
        """Make every call that is due before ``time_ns``, then stand there."""
        heap = self._heap
        step = self._steps.append
        while heap and heap[0][0] < time_ns:
            now_ns, sequence, alarm = heappop(heap)
            call = alarm.call
            if call is None:
                continue
            if now_ns > self.now_ns:
                self._at_once = 0
                self.now_ns = now_ns
            holder = alarm.holder
            if holder is not None and holder.hindered and holder.takes(alarm):
                continue
            alarm.call = None
            self._at_once += 1
            assert self._at_once < EVENTS_AT_ONCE_MAX, f"time stands still at {now_ns} ns"
            self.events += 1
            step(now_ns)
            step(sequence)
            call()
            if len(self._steps) >= STEPS_KEPT:
                self._work.look(now_ns, self.events)
                self._take_steps()
        self.now_ns = time_ns

    def note(self, fact: bytes) -> None:
        """Make ``fact`` part of the run's digest."""
        self._take_steps()
        self._trace.update(fact)

    def digest(self) -> str:
        """Return a name for everything that has happened."""
        self._take_steps()
        return self._trace.hexdigest()

    def _take_steps(self) -> None:
        self._trace.update(self._steps)
        del self._steps[:]


def stream(seed: int, concern: str) -> Random:
    """Return the random numbers of one concern of one seed."""
    digest = hashlib.blake2b(f"{seed}/{concern}".encode(), digest_size=16).digest()
    return Random(int.from_bytes(digest, "little"))
