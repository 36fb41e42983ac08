"""Virtual time: a heap of calls, and one stream of random numbers per concern.

Two calls due at one moment are made in the order in which they were asked for,
so a run depends on the seed and on nothing else. A stream per concern keeps
seeds comparable: more random numbers drawn for the network do not change what
the disks do.
"""

import hashlib
import struct
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Final

from chaos.check.bounded_work import BoundedWork

SECOND_NS: Final = 1_000_000_000
MS_NS: Final = 1_000_000
EVENTS_AT_ONCE_MAX: Final = 100_000
"""More events at one moment are a loop that waits for nothing."""
_STEP: Final = struct.Struct("<QI")


class Alarm:
    """A call that is due at some time; cancelling makes it harmless."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Forget the call."""
        self.call = None


class EventQueue:
    """Everything that will happen, in order. Integer nanoseconds from 0."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.events = 0
        self._at_once = 0
        self._work = BoundedWork()
        self._sequence = 0
        self._heap: list[tuple[int, int, Alarm]] = []
        self._trace = hashlib.blake2b(digest_size=16)

    def at(self, time_ns: int, call: Callable[[], None]) -> Alarm:
        """Make ``call`` at ``time_ns``, or now if that has passed."""
        self._sequence += 1
        alarm = Alarm(call)
        heappush(self._heap, (max(time_ns, self.now_ns), self._sequence, alarm))
        return alarm

    def after(self, delay_ns: int, call: Callable[[], None]) -> Alarm:
        """Make ``call`` after ``delay_ns``."""
        return self.at(self.now_ns + delay_ns, call)

    def run_until(self, time_ns: int) -> None:
        """Make every call that is due before ``time_ns``, then stand there."""
        heap = self._heap
        trace = self._trace.update
        while heap and heap[0][0] < time_ns:
            now_ns, sequence, alarm = heappop(heap)
            call = alarm.call
            if call is None:
                continue
            alarm.call = None
            if now_ns > self.now_ns:
                self._at_once = 0
            self._at_once += 1
            assert self._at_once < EVENTS_AT_ONCE_MAX, f"time stands still at {now_ns} ns"
            self.now_ns = now_ns
            self.events += 1
            self._work.happens(now_ns)
            trace(_STEP.pack(now_ns, sequence & 0xFFFFFFFF))
            call()
        self.now_ns = time_ns

    def note(self, fact: bytes) -> None:
        """Make ``fact`` part of the run's digest."""
        self._trace.update(fact)

    def digest(self) -> str:
        """Return a name for everything that has happened."""
        return self._trace.hexdigest()


def stream(seed: int, concern: str) -> Random:
    """Return the random numbers of one concern of one seed."""
    digest = hashlib.blake2b(f"{seed}/{concern}".encode(), digest_size=16).digest()
    return Random(int.from_bytes(digest, "little"))
