"""How a link is at the moment: what happens to bytes on their way, each way by itself."""

from collections.abc import Sequence

import msgspec


class Way(msgspec.Struct, frozen=True):
    """One direction of a link.

    Attributes:
        cut: Nothing passes, and nobody is told: bytes wait, as TCP would send them again.
        delay_s: How much later bytes arrive.
        bytes_per_s: How many pass in a second; 0: as many as come.
        lost: Which share of the pieces is lost each time that it is sent, until one arrives.
        jitter_s: How much later bytes arrive at most; each connection draws that by itself, so
            what is sent by two of them arrives in another order.
    """

    cut: bool = False
    delay_s: float = 0.0
    bytes_per_s: int = 0
    lost: float = 0.0
    jitter_s: float = 0.0


class Condition(msgspec.Struct, frozen=True):
    """A link: ``there`` is the way to the target, ``back`` the way of its answers."""

    there: Way = Way()
    back: Way = Way()
    refuses: bool = False
    """Who connects is reset."""


CLEAR = Condition()
CUT = Condition(Way(cut=True), Way(cut=True))
DEAF = Condition(there=Way(cut=True))
"""The target hears nothing and is heard."""
MUTE = Condition(back=Way(cut=True))
"""The target hears everything and is not heard."""
REFUSED = Condition(refuses=True)
"""Nobody can connect; what is connected stays so."""


def combined(conditions: Sequence[Condition]) -> Condition:
    """Return how a link is with which all of this is wrong at once."""
    ways = ([each.there for each in conditions], [each.back for each in conditions])
    there, back = map(_worst, ways)
    return Condition(there, back, any(each.refuses for each in conditions))


def _worst(ways: Sequence[Way]) -> Way:
    rates = [each.bytes_per_s for each in ways if each.bytes_per_s]
    return Way(
        any(each.cut for each in ways),
        sum(each.delay_s for each in ways),
        min(rates, default=0),
        max((each.lost for each in ways), default=0.0),
        max((each.jitter_s for each in ways), default=0.0),
    )


def slow(delay_s: float, bytes_per_s: int = 0) -> Condition:
    """Return a link on which everything takes longer, both ways."""
    return both_ways(Way(delay_s=delay_s, bytes_per_s=bytes_per_s))


def both_ways(way: Way) -> Condition:
    """Return a link that is so in both directions."""
    return Condition(way, way)
