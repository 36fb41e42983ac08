"""What is told of damage, and when."""

from collections.abc import Callable
from random import Random

from raftlog.base.ids import Index
from raftlog.node.damage import SHOWN_MAX, Damage, named
from raftlog.node.outward import Outward
from tests.node.test_scrub import SECOND_NS, rot, scrubbing


def damage() -> tuple[Damage, list[str]]:
    """Return one without news, and what it tells."""
    told: list[str] = []
    made = Damage(Outward(lambda error: told.append(str(error))))
    made.on_told = told.append
    return made, told


def at(*places: tuple[int, int]) -> Callable[[], list[tuple[Index, Index]]]:
    """Return what a store says."""
    return lambda: [(Index(first), Index(last)) for first, last in places]


def test_damage_is_told_when_it_is_found_and_when_it_is_gone() -> None:
    """Not at each piece of it."""
    made, told = damage()
    made.entries(0, at())
    made.entries(12, at((5, 16)))
    made.entries(8, at((5, 8), (13, 16)))
    made.entries(9, at((5, 8), (13, 16), (22, 22)))
    made.entries(1, at((22, 22)))
    made.entries(0, at())
    made.entries(0, at())
    assert told == [
        "entries 5 to 16 are damaged on this disk, and asked of the other members",
        "entry 22 is damaged on this disk, and asked of the other members",
        "entries 5 to 16, 22 are no longer damaged: what another member sent is in its place",
    ]


def test_a_line_has_an_end() -> None:
    """A disk can be bad in thousands of places."""
    places = at(*[(number, number + Random(number).randrange(1, 3)) for number in range(0, 99, 9)])
    assert named(places()).endswith(f" and {11 - SHOWN_MAX} more places are")


def test_what_the_scrubber_finds_is_told() -> None:
    """It was repaired in silence."""
    node = scrubbing()
    told: list[str] = []
    node.replica.upkeep.damage.on_told = told.append
    node.replica.start()
    rot(node, 20)
    node.run(3 * SECOND_NS)
    assert told == ["entry 20 is damaged on this disk, and asked of the other members"]
