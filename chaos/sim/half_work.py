"""What half messages do in a seed: drawn from a stream of its own."""

from typing import Final

import msgspec

from chaos.sim.events import stream

TOPICS: Final = ("halves", "brief")
"""The second one is deleted now and then."""
SHARE: Final = 0.3
"""Topic stores with half messages."""


class HalfWork(msgspec.Struct, frozen=True):
    """The workload of one seed."""

    seed: int
    groups: tuple[str, ...]
    owners: int
    """Of each group."""
    members: int
    """Of each group: they answer checks."""
    queues: int
    halves_per_s: float
    """Requests of each owner; one may hold several."""
    polls_per_s: float
    """Of each member, after the last one was answered."""
    leaves: float
    """How often an owner decides nothing; how often it rolls back, else it commits."""
    rolls_back: float
    twice: float
    """How often something is said again later; how often the other way round."""
    contradicts: float
    dies_per_s: float
    """How often an owner is taken over."""
    lingers: float
    """How often the one before does not know that, and goes on."""
    silent: float
    """How often a member that was asked says nothing; how often it does not know."""
    unknown: float
    foreign: float
    """How often another group answers."""
    resolves_per_s: float
    deletes_per_s: float
    first_ms: int
    """Until the first check, between checks, and until another member is asked."""
    again_ms: int
    ask_again_ms: int
    checks: int
    known_ms: int
    moves: float
    """How often who takes an owner over is of another group."""


def draw_halves(seed: int, quiet: int) -> HalfWork | None:
    """Draw it, for a part of the topic stores."""
    random = stream(seed, "half messages")
    if random.random() >= SHARE:
        return None
    return HalfWork(
        seed=seed,
        groups=("billing", "audit")[: random.choice((1, 1, 2))],
        owners=random.choice((1, 1, 2)),
        members=random.choice((1, 2)),
        queues=random.choice((1, 2)),
        halves_per_s=random.choice((1, 3)) / quiet,
        polls_per_s=random.choice((2, 8)) / quiet,
        leaves=random.choice((0.2, 0.6)),
        rolls_back=random.choice((0.2, 0.5)),
        twice=random.choice((0.1, 0.5)),
        contradicts=random.choice((0.0, 0.2)),
        dies_per_s=random.choice((0.0, 0.1, 0.5)) / quiet,
        lingers=random.choice((0.3, 1.0)),
        silent=random.choice((0.0, 0.3)),
        unknown=random.choice((0.2, 0.5, 0.95)),
        foreign=random.choice((0.0, 0.1)),
        resolves_per_s=random.choice((0.2, 1)) / quiet,
        deletes_per_s=random.choice((0.0, 0.0, 0.2)) / quiet,
        first_ms=random.choice((100, 1_000)),
        again_ms=random.choice((50, 300)),
        ask_again_ms=random.choice((300, 1_500)),
        checks=random.choice((2, 4, 15)),
        known_ms=random.choice((600_000, 600_000, 2_000)),
        moves=random.choice((0.0, 0.5)),
    )
