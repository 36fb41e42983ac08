"""Adding to queues and looking at their ends: one order explains what everybody was told.

The same question as ``queue_ends`` asks, for histories of a simulation, in O(n log n): the log
says where each record is, also one whose owner was told nothing, so only one order is possible,
that of the positions, and it has to agree with time. A look at end ``e`` comes before the record
at ``e`` and behind the one before it::

    position    0   (0)   1   (1)   2          (n): the record at n, between two ends
    whatever had ended before an operation was called lies, by position, not behind it

Each pair alone decides. A circle of the order of positions and of time would have a pair in it
that runs back by position and forth in time; looks at one end are no matter, they may come as they
were called. So a floor is enough: the position that is known by who has an answer already.

Moments are numbers that grow with each call and each answer of anybody.
"""

from collections.abc import Mapping
from typing import Final

from chaos.check.sends_kept import Sends
from chaos.check.violation import Violation

NAME: Final = "queue_order"

Step = tuple[int, bool, int]
"""Moment, whether it is an answer, and position: twice the offset; that of a record is odd."""


class QueueOrder:
    """Who has looked at the ends of queues, beside what was sent.

    Args:
        sends: The records, with the moments of their calls and answers.
    """

    def __init__(self, sends: Sends) -> None:
        self._sends: Final = sends
        self._looks: Final[dict[int, list[tuple[int, int, int]]]] = {}
        self.look_count = 0

    def asks(self) -> int:
        """Return the moment: somebody asks for an end now."""
        return self._sends.passes()

    def told(self, queue: int, end: int, asked: int) -> None:
        """Take in that somebody who asked at that moment is told so now."""
        self.look_count += 1
        self._looks.setdefault(queue, []).append((asked, self._sends.passes(), end))

    def check(self, ends: Mapping[int, int]) -> None:
        """Look for the order, when the queues end at ``ends`` and nobody adds any more.

        Raises:
            Violation: There is none.
        """
        steps: dict[int, list[Step]] = {}
        for sent in self._sends.records.values():
            if sent.place is not None:  # else it has no effect, now or ever
                queue, offset = sent.place
                _add(steps.setdefault(queue, []), sent.called, sent.returned, 2 * offset + 1)
        for queue, looks in self._looks.items():
            of_queue = steps.setdefault(queue, [])
            for asked, told, end in looks:
                if end > ends.get(queue, 0):
                    raise Violation(NAME, f"queue {queue} was told to end at {end}: it never did")
                _add(of_queue, asked, told, 2 * end)
        for queue, of_queue in steps.items():
            _check_queue(queue, sorted(of_queue))


def _add(steps: list[Step], called: int, returned: int | None, position: int) -> None:
    steps.append((called, False, position))
    if returned is not None:
        steps.append((returned, True, position))


def _check_queue(queue: int, steps: list[Step]) -> None:
    known = 0
    for moment, is_answer, position in steps:
        if is_answer:
            known = max(known, position)
        elif position < known:
            what, before = _name(position), _name(known)
            raise Violation(
                NAME, f"queue {queue}: {what} was called at {moment}, after {before} was answered"
            )


def _name(position: int) -> str:
    return f"the record at {position // 2}" if position % 2 else f"a look at end {position // 2}"
