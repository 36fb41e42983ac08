"""Which messages in flight are blocked, of which groups, and since when: somebody has to decide.

That follows from the rows in flight, as all that ``flights`` keeps beside them: it is no state
of its own, and is there again after a snapshot. Asking costs nothing that grows with the rows.
"""

from collections.abc import Iterator
from typing import Final

from raftlog.broker.sorted_keys import SortedKeys


class _OfGroup:
    """What is blocked in one group: by where it is, and by since when."""

    __slots__ = ("places", "times")

    def __init__(self) -> None:
        self.places: Final[SortedKeys[tuple[int, int]]] = SortedKeys()
        self.times: Final[SortedKeys[tuple[int, int, int]]] = SortedKeys()


class Blocked:
    """The blocked messages of one shard. Times are log times, in milliseconds since 1970."""

    def __init__(self) -> None:
        self._groups: Final[dict[int, _OfGroup]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Count them."""
        return self._count

    def clear(self) -> None:
        """Forget all of them."""
        self._groups.clear()
        self._count = 0

    def add(self, group: int, queue: int, offset: int, since_ms: int) -> None:
        """A message is blocked from now on."""
        found = self._groups.setdefault(group, _OfGroup())
        found.places.add((queue, offset))
        found.times.add((since_ms, queue, offset))
        self._count += 1

    def remove(self, group: int, queue: int, offset: int, since_ms: int) -> None:
        """It is not any more."""
        found = self._groups[group]
        found.places.remove((queue, offset))
        found.times.remove((since_ms, queue, offset))
        self._count -= 1
        if not found.places:
            del self._groups[group]

    def since_ms(self) -> dict[int, int]:
        """Return since when the oldest one of each group is blocked, by the group's number."""
        oldest = {number: found.times.first() for number, found in self._groups.items()}
        return {number: first[0] for number, first in oldest.items() if first is not None}

    def after(self, group: int, place: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
        """Walk through a group's (group, queue, offset) behind a queue and offset.

        In order. Nothing may change meanwhile.
        """
        found = self._groups.get(group)
        if found is not None:
            for queue, offset in found.places.after(place):
                yield group, queue, offset
