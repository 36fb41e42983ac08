"""A group with a filter is given what it wants, and nothing else; what it is told is true.

What matches is found out here anew, from the committed log and by other code than the
product's. That all that it wants is handed out is for ``one_place``: in the end it is ended.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from chaos.check.filtered_reads import Wish
from chaos.check.lease_model import Place
from chaos.check.violation import Violation
from raftlog.wire.batch import Record

NAME: Final = "filtered_leases"

Stretch = tuple[int, int, int, Sequence[int]]
"""Queue, first offset, end, and the offsets that match."""


def anything(_record: Record) -> bool:
    """Want it, whatever it is."""
    return True


class GroupWishes(msgspec.Struct):
    """What a group has wanted, version by version."""

    records: Mapping[Place, Record]
    by_version: dict[int, Wish]
    version: int
    sought: dict[int, list[tuple[int, int]]] = {}
    """By queue: from which offset on a seek has let everything be looked at anew, and since which
    version; both rise."""

    @property
    def has_filter(self) -> bool:
        """Whether there was a version that left something out."""
        return any(wish is not anything for wish in self.by_version.values())

    def change(self, wish: Wish) -> None:
        """Take in what it wants from now on; the same is no change."""
        if wish is not self.by_version[self.version]:
            self.version += 1
            self.by_version[self.version] = wish

    def wants(self, place: Place) -> bool:
        """Whether it wants a message, and always has: then it can't have been passed over."""
        record = self.records.get(place)
        if record is None:
            return True
        queue, offset = place
        since = max(
            (each[1] for each in self.sought.get(queue, ()) if each[0] <= offset), default=0
        )
        wishes = (wish for version, wish in self.by_version.items() if version >= since)
        return all(wish(record) for wish in wishes)

    def seeks(self, queue: int, offset: int) -> None:
        """Take in that what lies from there on is looked at anew, by what is wanted then."""
        before = [each for each in self.sought.get(queue, ()) if each[0] < offset]
        self.sought[queue] = [*before, (offset, self.version)]


def check_wanted(name: str, wishes: GroupWishes, place: Place, *, fifo: bool) -> None:
    """Check that a message that is leased for the first time is wanted.

    With order by key it may have stood in line since another filter held.

    Raises:
        Violation: The filter of the group leaves it out.
    """
    held = wishes.by_version.values() if fifo else [wishes.by_version[wishes.version]]
    if not any(wish(wishes.records[place]) for wish in held):
        raise Violation(NAME, f"{place} is leased for {name}, whose filter does not want it")


def check_matches(
    name: str, wishes: GroupWishes, version: int, stretches: Sequence[Stretch]
) -> None:
    """Check what the machine is told of a version of the filter.

    Raises:
        Violation: It is not so: something would be passed over, or leased, wrongly.
    """
    wish = wishes.by_version.get(version)
    if wish is None:
        return
    for queue, first, end, told in stretches:
        matching = [offset for offset in range(first, end) if wish(wishes.records[queue, offset])]
        if matching != list(told):
            raise Violation(
                NAME,
                f"a leader tells that of queue {queue} from {first} to {end} {list(told)} match "
                f"for {name}, version {version}; {matching} do",
            )
