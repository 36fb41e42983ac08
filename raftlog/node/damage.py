"""What is told of damage: once when it is found, once when it is gone.

Repair is silent about its many steps. What somebody who reads the node's log wants to know is
which entries or files were bad, since when, and whether they are good again: a disk that does it
twice is replaced.
"""

from collections.abc import Callable, Sequence
from typing import Final

from raftlog.base.ids import Index
from raftlog.node.outward import Outward

SHOWN_MAX: Final = 8
"""Places that one line names; of the rest it says how many they are."""

Places = Sequence[tuple[Index, Index]]


class Damage:
    """The news of one replica's damage.

    Attributes:
        on_told: Told of each, in a sentence.
    """

    def __init__(self, outward: Outward) -> None:
        self._outward: Final = outward
        self._told: list[tuple[Index, Index]] = []
        self._count = 0
        self.on_told: Callable[[str], None] = lambda _: None

    def entries(self, count: int, places: Callable[[], Places]) -> None:
        """So many entries are damaged, in those places: say what is new about that."""
        before, self._count = self._count, count
        if not count and self._told:
            self._tell(
                f"{named(self._told)} no longer damaged: what another member sent is in its place"
            )
            self._told.clear()
        elif count > before:
            new = [each for each in places() if not self._knows(*each)]
            if new:
                self._told += new
                self._tell(f"{named(new)} damaged on this disk, and asked of the other members")

    def file(self, path: str) -> None:
        """A file is damaged."""
        self._tell(f"{path} is damaged, and asked of the other members")

    def file_repaired(self, path: str) -> None:
        """It is good again."""
        self._tell(f"{path} is no longer damaged: another member's is in its place")

    def _knows(self, first: Index, last: Index) -> bool:
        return any(low <= first and last <= high for low, high in self._told)

    def _tell(self, what: str) -> None:
        self._outward.call(self.on_told, what)


def named(places: Places) -> str:
    """Return which entries ``places`` are, with their verb."""
    shown = [f"{first} to {last}" if last > first else str(first) for first, last in places]
    if len(shown) == 1 and places[0][0] == places[0][1]:
        return f"entry {shown[0]} is"
    more = f" and {len(shown) - SHOWN_MAX} more places" if len(shown) > SHOWN_MAX else ""
    return f"entries {', '.join(shown[:SHOWN_MAX])}{more} are"
