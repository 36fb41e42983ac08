"""No storms: what happens within one second has a bound, whatever the faults.

A replica that answers each refusal with the same question again keeps every
promise, and no disk or link would stand it.
"""

from typing import Final

from chaos.check.violation import Violation

NAME: Final = "bounded_work"
SECOND_NS: Final = 1_000_000_000
EVENTS_PER_SECOND_MAX: Final = 100_000
"""Ten times what any good run has been seen to need."""


class BoundedWork:
    """Counts the events of each second."""

    def __init__(self) -> None:
        self._until_ns = 0
        self._events = 0

    def happens(self, now_ns: int) -> None:
        """Take in an event.

        Raises:
            Violation: It is one too many.
        """
        if now_ns >= self._until_ns:
            self._until_ns = now_ns + SECOND_NS
            self._events = 0
        self._events += 1
        if self._events > EVENTS_PER_SECOND_MAX:
            raise Violation(NAME, f"{self._events} events in a second, and no end")
