"""Who was told to be done with a message, in the order of that: nobody who asks later gets it."""

from typing import Final

from chaos.check.lease_model import Place
from chaos.check.one_place import check_given


class ToldAcks:
    """Those of all groups, by the number of the group."""

    def __init__(self) -> None:
        self.count = 0
        """How many there were, until now: what an asker knows of."""
        self._numbers: Final[dict[tuple[int, Place], int]] = {}

    def told(self, group: int, place: Place) -> None:
        """Take in that somebody was told to be done with a message."""
        if (group, place) not in self._numbers:
            self._numbers[group, place] = self.count
            self.count += 1

    def given(self, group: int, place: Place, asked: int) -> None:
        """Take in that somebody has a message, who asked when ``count`` was ``asked``.

        Raises:
            Violation: Somebody was told before that it is finished.
        """
        check_given(place, self._numbers.get((group, place)), asked)

    def sought(self, group: int, queue: int, offset: int) -> None:
        """A group goes on there: what lies from there on is to be done once more."""
        gone = [
            (number, place)
            for number, place in self._numbers
            if number == group and place[0] == queue and place[1] >= offset
        ]
        for key in gone:
            del self._numbers[key]
