"""Atomic transactions: all parts at one index or none, and each input is used exactly once.

A transaction reads records of a group's queue, stores what it makes of them, and commits
how far it has read. So what the log has of it, it has in one command; and where one ends,
the next one of that group and queue begins: nothing is read twice, nothing is left out.
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from chaos.check.violation import Violation

NAME: Final = "atomic_visibility"

Key = tuple[str, int]
"""Group and queue."""


class Intent(msgspec.Struct, frozen=True):
    """What one transaction is to do, as its maker knows it."""

    values: frozenset[bytes]
    """Of its records."""
    read: Key
    first: int
    after: int
    """It has read the records from ``first`` on, before ``after``."""


class AtomicVisibility:
    """What was to be stored together, against what was."""

    def __init__(self) -> None:
        self._intents: Final[dict[bytes, Intent]] = {}
        self._stored: Final[set[bytes]] = set()
        """Values of transactions that the log has."""

    def begins(self, intent: Intent) -> None:
        """Take in that somebody is about to send a transaction."""
        for value in intent.values:
            assert value not in self._intents, f"{value!r} is in two transactions"
            self._intents[value] = intent

    def is_part(self, value: bytes) -> bool:
        """Whether a value may be stored by a transaction only."""
        return value in self._intents

    def stored_alone(self, value: bytes) -> None:
        """Take in that a command that is no transaction has stored ``value``.

        Raises:
            Violation: It is a part of one.
        """
        if value in self._intents:
            raise Violation(NAME, f"{value!r} is stored without the rest of its transaction")

    def stored(
        self,
        values: Collection[bytes],
        offsets: Mapping[Key, int],
        before: Mapping[Key, int],
        start: int,
    ) -> None:
        """Take in a transaction that was carried out: its records and the offsets it commits.

        Args:
            values: Of its records, in all queues.
            offsets: What it commits, by group and queue.
            before: What was committed before.
            start: Where the queue that it has read begins now.

        Raises:
            Violation: It is another transaction than anybody made, or one that is there; or
                it has read what was read before, or left something out.
        """
        intent = self._intents.get(next(iter(values), b""))
        if intent is None or set(values) != intent.values:
            expected = None if intent is None else sorted(intent.values)
            raise Violation(NAME, f"{sorted(values)} are stored together, not {expected}")
        if self._stored & intent.values:
            raise Violation(NAME, f"the transaction of {sorted(values)} is stored twice")
        self._stored.update(intent.values)
        if dict(offsets) != {intent.read: intent.after}:
            raise Violation(NAME, f"{intent} commits {dict(offsets)}")
        committed = before.get(intent.read, 0)
        if intent.first < committed:
            raise Violation(NAME, f"{intent} uses again what was used up to {committed}")
        if intent.first > max(committed, start):
            raise Violation(NAME, f"{intent} leaves out what lies behind {committed}")
