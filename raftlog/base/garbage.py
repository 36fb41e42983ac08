"""The cycle collector of a process that is raftlog's own: it looks seldom.

Nothing on the hot path makes cycles; with Python's default of 700 allocations
the collector took a tenth of a node's time. A library leaves it as it is: the
process belongs to somebody else.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

COLLECT_AFTER: Final = 50_000
"""Allocations between two looks."""


def collect_seldom() -> None:
    """Let the collector look seldom, from now on."""
    gc.set_threshold(COLLECT_AFTER, 20, 50)


def keep_what_is_there() -> None:
    """Collect once, and then never look at what was there before: it stays."""
    gc.collect()
    gc.freeze()


@contextmanager
def making_what_stays() -> Iterator[None]:
    """Never look at what is made while the context lasts: it stays.

    A million rows of a snapshot would be walked through again and again, and once more after it.
    """
    keep_what_is_there()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
