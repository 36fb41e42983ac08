"""What clients of queue-style groups are told, against what the log says by then."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from chaos.check.ends_counted import Counts, Ends, check_told, ends_of
from chaos.check.lease_model import LeasedGroup, Place
from chaos.check.one_place import check_acked, undone
from chaos.check.told_acks import ToldAcks

Asked = tuple[tuple[int, int], Ends]
"""Number and seeks of a group, and how its messages had ended."""


class LeaseAnswers:
    """The groups of one run, as far as their clients hear of them."""

    def __init__(self, marks: Counter[str], starts: Mapping[int, int], deleted: set[int]) -> None:
        self.groups: Final[dict[str, LeasedGroup]] = {}
        self.expiry_ms = 0
        """Leases that were to end until then may have ended."""
        self._told: Final = ToldAcks()
        self._marks: Final = marks
        self._starts: Final = starts
        self._deleted: Final = deleted

    def is_there(self, place: Place) -> bool:
        """Whether a message is neither forgotten by retention nor of a queue that is gone."""
        queue, offset = place
        return queue not in self._deleted and offset >= self._starts.get(queue, 0)

    def seeks(self, name: str) -> int:
        """Return how often somebody has set where a group goes on."""
        group = self.groups.get(name)
        return 0 if group is None else group.past.seeks

    def told_acked(self, name: str, place: Place, seeks: int) -> None:
        """Take in that somebody was told to be done with a message.

        ``seeks``: how many there were when he asked for it; another one may have taken it back.
        """
        group = self.groups.get(name)
        if group is not None and place in group.messages and seeks == group.past.seeks:
            check_acked(group, place, is_there=self.is_there(place), expiry_ms=self.expiry_ms)
            self._told.told(group.number, place)

    @property
    def told_count(self) -> int:
        """How many messages somebody was told to be done with, until now."""
        return self._told.count

    def given(self, name: str, place: Place, asked: int) -> None:
        """Take in that somebody has a message, who asked when ``told_count`` was ``asked``.

        Raises:
            Violation: Somebody was told before that it is finished.
        """
        group = self.groups.get(name)
        if group is not None:
            self._told.given(group.number, place, asked)

    def ends(self, name: str) -> Asked | None:
        """Return how a group's messages ended; None: there is no such group."""
        group = self.groups.get(name)
        if group is None:
            return None
        return (group.number, group.past.seeks), ends_of(group, self.expiry_ms)

    def has_counted(self, name: str, counts: Counts, before: Asked | None) -> None:
        """Take in what a group is told to have counted, and what was so before that was asked.

        Raises:
            Violation: It is not so.
        """
        now = self.ends(name)
        if before is not None and now is not None and before[0] == now[0]:
            self._marks["counts of groups told"] += 1
            check_told("a leader", name, counts, before[1], now[1])

    def undone(self, name: str, queues: Mapping[int, tuple[int, int]]) -> list[Place]:
        """Return what a group has not ended, of queues with their bounds."""
        group = self.groups.get(name)
        places = [
            (queue, offset)
            for queue, (start, end) in queues.items()
            for offset in range(start, end)
        ]
        return places if group is None else undone(group, places, self.expiry_ms)
