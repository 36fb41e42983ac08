"""What a transaction stores and what it acknowledges is one thing: all of it, or nothing.

Whoever works for a queue-style group settles messages together with what he made of them. If
the records are there, every one of these messages is finished, by him; if one of them was not
his any more, nothing is there, and the others are as they were. So no message is worked into
what is stored twice, and none is finished without what was made of it.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from chaos.check.violation import Violation

NAME: Final = "settled_together"

Ack = tuple[str, int, int, int]
"""Group, queue, offset, and the handle under which the message is said to be held."""


class Deal(msgspec.Struct, frozen=True):
    """What one transaction is to do, as its maker knows it."""

    values: frozenset[bytes]
    """Of its records; some."""
    acks: frozenset[Ack]


class SettledTogether:
    """What was to be settled and stored together, against what was."""

    def __init__(self) -> None:
        self._deals: Final[dict[bytes, Deal]] = {}
        self._done: Final[set[bytes]] = set()
        """Values of transactions that the log has."""

    def begins(self, deal: Deal) -> None:
        """Take in that somebody is about to send a transaction."""
        assert deal.values, "a transaction without records can't be told from another"
        for value in deal.values:
            assert value not in self._deals, f"{value!r} is in two transactions"
            self._deals[value] = deal

    def is_part(self, value: bytes) -> bool:
        """Whether a value may be stored only together with acknowledgements."""
        return value in self._deals

    def stored_alone(self, value: bytes) -> None:
        """Take in that a command that is no transaction has stored ``value``.

        Raises:
            Violation: It is a part of one.
        """
        if value in self._deals:
            raise Violation(NAME, f"{value!r} is stored, and what it was made of is not settled")

    def stored(
        self, values: Collection[bytes], acks: Collection[Ack], lost: Collection[Ack]
    ) -> None:
        """Take in a transaction that was carried out.

        Args:
            values: Of its records, in all queues.
            acks: What it acknowledges.
            lost: Those of them that were certainly not held under their handles any more.

        Raises:
            Violation: It is another transaction than anybody made, or one that is there; or
                it has settled what was not its maker's.
        """
        deal = self._deals[next(iter(values))]
        if set(values) != deal.values:
            raise Violation(
                NAME, f"{sorted(values)} are stored together, not {sorted(deal.values)}"
            )
        if set(acks) != deal.acks or len(acks) != len(deal.acks):
            raise Violation(
                NAME, f"{sorted(values)} settle {sorted(acks)}, not {sorted(deal.acks)}"
            )
        if self._done & deal.values:
            raise Violation(NAME, f"the transaction of {sorted(values)} is stored twice")
        if lost:
            raise Violation(NAME, f"{sorted(values)} are stored, and {sorted(lost)} were lost")
        self._done.update(deal.values)

    def refused(self, acks: Collection[Ack], held: Collection[Ack]) -> None:
        """Take in that a transaction was refused since a lease was not its maker's any more.

        ``held``: those of its acknowledgements that certainly are.

        Raises:
            Violation: All of them are.
        """
        if set(held) == set(acks):
            raise Violation(NAME, f"{sorted(acks)} are refused as stale, and all are held")

    def told(self, deal: Deal, *, is_stored: bool) -> None:
        """Take in what its maker was told in the end.

        Raises:
            Violation: It is not so.
        """
        if is_stored != (deal.values <= self._done):
            really = "is not" if is_stored else "is"
            raise Violation(NAME, f"{deal} {really} stored; its maker was told otherwise")
