"""Transactions that are staged, in a seed: drawn from a stream of its own.

A transaction of a seed has some hundred bytes, and none needs to be staged. Nobody looks at its
size: whoever stages a part of it may.
"""

from typing import Final

import msgspec

from chaos.sim.events import stream

SHARE: Final = 0.9
"""Of the seeds whose group reads, processes and writes in transactions."""


class StagedWork(msgspec.Struct, frozen=True):
    """How the transactions of one seed are staged, and for how long."""

    large: float
    """How often one is staged."""
    parts_max: int
    """In a queue, before its last batch."""
    leaves: float
    """How often its owner goes away before the commit."""
    leaves_out: float
    """How often a commit comes before that leaves the last part of a queue out."""
    keep_ms: int
    """After which a part is dropped."""
    rows_max: int
    """Parts that may be staged at once."""


def draw_staged(seed: int) -> StagedWork | None:
    """Draw it, for most of these seeds."""
    random = stream(seed, "staged")
    if random.random() >= SHARE:
        return None
    return StagedWork(
        large=random.choice((0.3, 0.7)),
        parts_max=random.choice((1, 3, 5)),
        leaves=random.choice((0.1, 0.3)),
        leaves_out=random.choice((0.1, 0.3)),
        keep_ms=random.choice((300, 2_000, 900_000, 900_000)),
        rows_max=random.choice((3, 100_000, 100_000)),
    )
