"""A read with a bound is at most so old, from whichever replica (ruling 23).

What a client knew of a queue's end, and since when, is kept. The answer to a
read that was asked at a moment with a bound must know the end that was known
before that moment by more than the bound.
"""

from bisect import bisect_right

from chaos.check.violation import Violation

NAME = "bounded_staleness"


class BoundedStaleness:
    """The ends of queues, as clients came to know them."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[list[int], list[int]]] = {}
        """By queue: moments, and the ends known since; both rise."""

    def sees(self, queue: int, end: int, now_ns: int) -> None:
        """Take in that a receipt was given for a record before ``end``."""
        times, ends = self._known.setdefault(queue, ([], []))
        if not ends or end > ends[-1]:
            times.append(now_ns)
            ends.append(end)

    def floor(self, queue: int, moment_ns: int) -> int:
        """Return the end that was known at a moment."""
        times, ends = self._known.get(queue, ([], []))
        place = bisect_right(times, moment_ns)
        return ends[place - 1] if place else 0

    def refused(self, queue: int, known: int, end: int) -> None:
        """Take in the end that a refusal told: all that was ``known`` when it was asked for.

        Raises:
            Violation: It was refused by what was old.
        """
        if end < known:
            raise Violation(
                NAME, f"a bounded read of queue {queue} is refused by an end of {end}, not {known}"
            )

    def answered(self, queue: int, floor: int, end: int) -> None:
        """Take in the end that an answer told.

        Raises:
            Violation: It is older than its bound allows.
        """
        if end < floor:
            raise Violation(
                NAME, f"a bounded read of queue {queue} knows its end as {end}, not {floor}"
            )
