"""What quotas there are in a seed: drawn from a stream of its own."""

from typing import Final

import msgspec

from chaos.sim.events import stream

SHARE: Final = 0.2
"""Topic stores with quotas that come and go."""


class QuotaWork(msgspec.Struct, frozen=True):
    """The workload of one seed."""

    seed: int
    changes_per_s: float
    looks_per_s: float
    records_per_s: tuple[int, ...]
    """Bounds that are drawn from; 0: none."""
    bytes_per_s: tuple[int, ...]
    everybody: float
    """How often a quota is for all clients, and not for a topic."""


def draw_quotas(seed: int, quiet: int) -> QuotaWork | None:
    """Draw it, for a part of the topic stores."""
    random = stream(seed, "quotas")
    if random.random() >= SHARE:
        return None
    return QuotaWork(
        seed=seed,
        changes_per_s=random.choice((1.0, 4.0)) / quiet,
        looks_per_s=random.choice((0.5, 2.0)) / quiet,
        records_per_s=random.choice(((0, 2, 10), (1, 3), (0, 5))),
        bytes_per_s=random.choice(((0,), (0, 200, 2_000), (500,))),
        everybody=random.choice((0.0, 0.3)),
    )
