"""Clients: acked means committed, failed means never, unknown may (R1, R5, ruling 22).

Every attempt appends a value of its own, so a value that shows up twice was
duplicated by the system, and one that nobody sent was invented by it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from chaos.check.violation import Violation

NAME: Final = "acked_present"


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a value lies: index of the entry, position in it."""

    index: int
    position: int


class History:
    """What clients were told."""

    def __init__(self) -> None:
        self.sent: set[bytes] = set()
        self.acked: dict[bytes, int] = {}
        self.failed: set[bytes] = set()
        self.unknown: set[bytes] = set()

    def sends(self, value: bytes) -> None:
        """Take in an attempt. Until something else is told, its outcome is unknown."""
        assert value not in self.sent, f"value {value!r} is sent twice"
        self.sent.add(value)
        self.unknown.add(value)

    def ends_ok(self, value: bytes, index: int) -> None:
        """Take in that the client was told that ``value`` is stored at ``index``."""
        self.unknown.discard(value)
        self.acked[value] = index

    def ends_failed(self, value: bytes) -> None:
        """Take in that the client was told that it never happened."""
        self.unknown.discard(value)
        self.failed.add(value)

    def check(self, stored: Mapping[bytes, Place], order: Iterable[bytes]) -> None:
        """Compare what was told with the committed log.

        Args:
            stored: Where each committed value lies.
            order: All committed values, repeated ones too.

        Raises:
            Violation: A value is lost, moved, invented, repeated, or there
                although it was reported as failed.
        """
        seen: set[bytes] = set()
        for value in order:
            if value in seen:
                raise Violation(NAME, f"{value!r} is stored twice")
            seen.add(value)
            if value not in self.sent:
                raise Violation(NAME, f"{value!r} is stored and nobody sent it")
            if value in self.failed:
                raise Violation(NAME, f"{value!r} is stored, but its client was told never")
        for value, index in self.acked.items():
            place = stored.get(value)
            if place is None:
                raise Violation(NAME, f"{value!r} was acked at {index} and is lost")
            if place.index != index:
                raise Violation(NAME, f"{value!r} was acked at {index} and is at {place.index}")
