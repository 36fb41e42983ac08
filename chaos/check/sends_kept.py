"""Producers: acked is there, at its offset, once; failed is never there; unknown is there or not.

Every record has a value of its own, whoever sends it and however often, so a
value that is stored twice was doubled by the system. What a fence has resolved
counts like any other answer: "not stored" means never, from then on (ruling 10).
"""

from enum import Enum
from typing import Final

import msgspec

from chaos.check.violation import Violation

NAME: Final = "sends_kept"


class Told(Enum):
    """What the owner of a record was told."""

    NOTHING = "unknown"
    ACKED = "acked"
    NEVER = "told that it never happened"
    SOMEWHERE = "told that it is stored, at a forgotten offset"
    GONE = "told that its queue is gone"
    DELAYED = "acked, to be visible later"
    CANCELLED = "told that it is cancelled"


class Sent(msgspec.Struct):
    """A record that somebody sent, what its owner knows, and where it is."""

    called: int
    """The moment at which it was to be sent."""
    returned: int | None = None
    """The moment since when its owner knows that it is there; None: it does not know."""
    told: Told = Told.NOTHING
    place: tuple[int, int] | None = None
    """Queue and offset, as the log has it."""
    hidden: tuple[int, int] | None = None
    """Queue and id, if it was stored to be visible later."""


class Sends:
    """What clients sent and were told, against what was stored. Checked at every step."""

    def __init__(self) -> None:
        self.records: dict[bytes, Sent] = {}
        self._moment = 0

    def passes(self) -> int:
        """Return the moment that it is now; it is over."""
        self._moment += 1
        return self._moment

    def sends(self, value: bytes) -> None:
        """Take in that somebody is about to send ``value``."""
        assert value not in self.records, f"value {value!r} is sent by two"
        self.records[value] = Sent(self.passes())

    def stored(self, value: bytes, queue: int, offset: int) -> None:
        """Take in that the committed log has ``value`` at this place.

        Raises:
            Violation: Nobody sent it, it is there already, or it must never be.
        """
        sent = self.records.get(value)
        if sent is None:
            raise Violation(NAME, f"{value!r} is stored and nobody sent it")
        if sent.place is not None:
            raise Violation(NAME, f"{value!r} is stored at {sent.place} and {(queue, offset)}")
        if sent.told in (Told.NEVER, Told.GONE, Told.CANCELLED):
            raise Violation(NAME, f"{value!r} is stored; its owner was {sent.told.value}")
        sent.place = (queue, offset)

    def hidden(self, value: bytes, key: tuple[int, int]) -> None:
        """Take in that the log has ``value``, to be visible later.

        Raises:
            Violation: Nobody sent it, it is there already, or it must never be.
        """
        sent = self.records.get(value)
        if sent is None:
            raise Violation(NAME, f"{value!r} is hidden and nobody sent it")
        if sent.place is not None or sent.hidden is not None:
            raise Violation(NAME, f"{value!r} is hidden as {key}, after {sent}")
        if sent.told in (Told.NEVER, Told.GONE):
            raise Violation(NAME, f"{value!r} is hidden; its owner was {sent.told.value}")
        sent.hidden = key

    def acked_later(self, value: bytes, key: tuple[int, int]) -> None:
        """Take in that the owner of ``value`` has a receipt with this handle.

        Raises:
            Violation: It is not the handle of that.
        """
        sent = self.records[value]
        if sent.hidden != key:
            raise Violation(NAME, f"{value!r} is acked as {key} and is {sent.hidden}")
        sent.told = Told.DELAYED

    def cancelled(self, value: bytes) -> None:
        """Take in that the owner of ``value`` was told that it will never be visible.

        Raises:
            Violation: It is.
        """
        sent = self.records[value]
        if sent.place is not None:
            raise Violation(NAME, f"{value!r} is cancelled and is at {sent.place}")
        sent.told = Told.CANCELLED

    def delivered(self, value: bytes) -> None:
        """Take in that the owner of ``value`` was told that it is visible.

        Raises:
            Violation: It is not.
        """
        sent = self.records[value]
        if sent.place is None:
            raise Violation(NAME, f"{value!r} is not visible; its owner was told that it is")
        self._knows(sent)

    def acked(self, value: bytes, queue: int, offset: int) -> None:
        """Take in that the owner of ``value`` has a receipt for this place.

        Raises:
            Violation: It is not there.
        """
        sent = self.records[value]
        if sent.place != (queue, offset):
            raise Violation(
                NAME, f"{value!r} is acked at {(queue, offset)} and is at {sent.place}"
            )
        sent.told = Told.ACKED
        self._knows(sent)

    def never(self, value: bytes, why: str) -> None:
        """Take in that the owner of ``value`` was told that it is not stored and never will be.

        Raises:
            Violation: It is stored.
        """
        sent = self.records[value]
        if sent.place is not None or sent.hidden is not None:
            where = sent.place or sent.hidden
            raise Violation(NAME, f"{value!r} is stored at {where}; its owner hears: {why}")
        sent.told = Told.NEVER

    def instead(self, value: bytes) -> bool:
        """Take in that the owner of ``value`` hears that another record with its id is stored.

        Return False if it is its own one: that is to be ``acked``.
        """
        sent = self.records[value]
        if sent.place is None:
            sent.told = Told.NEVER
        return sent.place is None

    def gone(self, value: bytes, queue: int, *, is_deleted: bool) -> None:
        """Take in that the owner of ``value`` was told that there is no such queue.

        It may have been stored in it before; nothing can be stored there later.

        Raises:
            Violation: The queue is there.
        """
        if not is_deleted:
            raise Violation(NAME, f"the owner of {value!r} is told that queue {queue} is gone")
        self.records[value].told = Told.GONE

    def somewhere(self, value: bytes) -> None:
        """Take in that the owner of ``value`` was told that it is stored, at a forgotten offset.

        Raises:
            Violation: It is not stored.
        """
        sent = self.records[value]
        if sent.place is None and sent.hidden is None:
            raise Violation(NAME, f"{value!r} is not stored; its owner was told that it is")
        sent.told = Told.SOMEWHERE
        if sent.place is not None:
            self._knows(sent)

    def _knows(self, sent: Sent) -> None:
        if sent.returned is None:
            sent.returned = self.passes()
