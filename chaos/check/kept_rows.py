"""Rows of state as the log has made them: every replica has them, and so is who looks told.

A row has a value from an entry on, until another entry changes it or takes it away. A replica
that has applied so far, by itself or with a snapshot, has exactly the rows of that moment. A look
is linearizable (ruling 23): it shows a row as it was at some moment between question and answer.
"""

from bisect import bisect_right
from collections.abc import Callable, Hashable, Mapping
from typing import Final, Generic, TypeVar

from chaos.check.violation import Violation
from raftlog.base.ids import NodeId

NAME: Final = "kept_rows"

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class KeptRows(Generic[K, V]):
    """The rows of one table, and what they were.

    Args:
        what: What a row is of, for people.
    """

    def __init__(self, what: str) -> None:
        self.now: Final[dict[K, V]] = {}
        """Those that there are."""
        self._what: Final = what
        self._changed = 0
        self._indexes: Final[dict[K, list[int]]] = {}
        self._values: Final[dict[K, list[V | None]]] = {}
        """What each row was from the entry on that is in the same place of ``_indexes``."""

    # -- in the order of the log

    def put(self, index: int, key: K, value: V) -> None:
        """Take in that the entry at ``index`` gives a row this value."""
        self.now[key] = value
        self._note(index, key, value)

    def gone(self, index: int, key: K) -> None:
        """Take in that the entry at ``index`` takes a row away, if it is there."""
        if self.now.pop(key, None) is not None:
            self._note(index, key, None)

    def _note(self, index: int, key: K, value: V | None) -> None:
        indexes, values = self._indexes.setdefault(key, []), self._values.setdefault(key, [])
        self._changed = index
        if indexes and indexes[-1] == index:
            values[-1] = value
        else:
            indexes.append(index)
            values.append(value)

    # -- as replicas have them

    def at(self, index: int) -> dict[K, V]:
        """Return the rows as they were behind the entry at ``index``."""
        if index >= self._changed:
            return self.now
        found: dict[K, V] = {}
        for key in self._indexes:
            value = self._at(key, index)
            if value is not None:
                found[key] = value
        return found

    def _at(self, key: K, index: int) -> V | None:
        place = bisect_right(self._indexes.get(key, ()), index)
        return self._values[key][place - 1] if place else None

    def check(self, node: NodeId, index: int, rows: Mapping[K, V]) -> None:
        """Compare with what a replica has that has applied ``index``.

        Raises:
            Violation: It lacks a row, has one too many, or another one.
        """
        expected = self.at(index)
        if rows == expected:
            return
        for key in sorted({*rows, *expected}, key=repr):
            if rows.get(key) != expected.get(key):
                raise Violation(
                    NAME,
                    f"{node} has applied {index}: {self._what} {key} is {rows.get(key)}, and the "
                    f"log says {expected.get(key)}",
                )

    # -- as clients see them

    def since(self, key: K, floor: int) -> list[V | None]:
        """Return what a row has been since the entry at ``floor``; None: not there."""
        place = bisect_right(self._indexes.get(key, ()), floor)
        return [self._at(key, floor), *self._values.get(key, [])[place:]]

    def told(
        self, key: K, floor: int, value: object, part: Callable[[V], object] = lambda row: row
    ) -> None:
        """Take in that somebody was shown a row who asked when ``floor`` was applied somewhere.

        Args:
            key: Which one.
            floor: That entry.
            value: The row, or what was shown of it; None: nothing.
            part: What of a row is shown.

        Raises:
            Violation: It has never been so since.
        """
        possible = [None if row is None else part(row) for row in self.since(key, floor)]
        if value not in possible:
            raise Violation(
                NAME, f"{self._what} {key} is told as {value}; since {floor} it was {possible}"
            )
