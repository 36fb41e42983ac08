"""Run the queue until something holds, for so long at most: how each demand at the end is made."""

from collections.abc import Callable
from typing import Final

from chaos.check.violation import Violation
from chaos.sim.events import MS_NS, EventQueue

LOOK_NS: Final = 100 * MS_NS

WhyNot = Callable[[], str | None]
"""Says what is missing; None: nothing."""


PATIENCES_MAX: Final = 5
"""How much longer than one patience is waited for what comes closer."""


def missing_after(
    queue: EventQueue, why_not: WhyNot, patience_ns: int, look_ns: int = LOOK_NS
) -> str | None:
    """Let time pass until nothing is missing; return what still is after ``patience_ns``."""
    deadline_ns = queue.now_ns + patience_ns
    while (missing := why_not()) is not None and queue.now_ns < deadline_ns:
        queue.run_until(queue.now_ns + look_ns)
    return missing


def demand(queue: EventQueue, why_not: WhyNot, patience_ns: int) -> None:
    """Let time pass until nothing is missing.

    What is missing may be much, and each step of it slow by what the seed has drawn (seed 637:
    1400 records, two for each answer, 60 ms for each commit). So patience begins anew when what
    is missing is something else than when it began, a few times.

    Raises:
        Violation: The same is missing after ``patience_ns``, or something still is in the end.
    """
    missing = why_not()
    for _ in range(PATIENCES_MAX):
        before = missing
        missing = missing_after(queue, why_not, patience_ns)
        if missing is None or missing == before:
            break
    if missing is not None:
        raise Violation("liveness", missing)
