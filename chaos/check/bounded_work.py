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
    """Looks now and then how much has happened."""

    def __init__(self) -> None:
        self._since_ns = 0
        self._before = 0

    def look(self, now_ns: int, events: int) -> None:
        """Take in how many events there were until now.

        Raises:
            Violation: Too many of them within a second.
        """
        if now_ns >= self._since_ns + SECOND_NS:
            self._since_ns, self._before = now_ns, events
        elif events > self._before + EVENTS_PER_SECOND_MAX:
            raise Violation(NAME, f"{events - self._before} events in a second, and no end")
