"""Delayed messages as their senders and readers saw them: never early, none lost, none twice.

Early is what a reader has before its time by more than log time may be off (a second). Lost: its
sender has a receipt, nobody has cancelled it, and it is not there although its time is over.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final

from chaos.check.client_history import Anomaly, Outcome, Records

NAME: Final = "later_kept"
EVIDENCE_MAX: Final = 5
OFF_MS: Final = 1_000
"""By how much log time may be ahead of the clocks of a majority."""


class Fate(IntEnum):
    """What somebody who cancelled a message was told."""

    CANCELLED = 1
    DELIVERED = 2
    NOTHING = 3
    """No answer: it may be cancelled, or not."""


class LaterMessages:
    """All delayed messages of a topic."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._due_ms: dict[int, int] = {}
        self._fates: dict[int, Fate] = {}
        self._found: dict[str, list[str]] = {}
        self.seen_count = 0

    def due(self, number: int, due_ms: int) -> None:
        """Take in when a message is due: from its receipt, or not before this."""
        self._due_ms[number] = due_ms

    def cancelled(self, number: int, fate: Fate) -> None:
        """Take in what a cancel was answered."""
        self._fates[number] = fate

    def seen(self, queue: int, offset: int, value: bytes, now_ms: int) -> None:
        """Take in that a reader has a message now."""
        self.seen_count += 1
        number = self._records.number_of(value)
        due_ms = self._due_ms.get(number, 0) if number is not None else 0
        if now_ms < due_ms - OFF_MS:
            text = f"queue {queue}, offset {offset}: {value[:40]!r}, {due_ms - now_ms} ms early"
            self._add("early: visible before its time", text)

    def check(self, log: Mapping[int, Sequence[bytes]]) -> list[Anomaly]:
        """Compare with the end, when every message's time is over."""
        records = self._records
        places: dict[int, tuple[int, int]] = {}
        for queue, values in log.items():
            for offset, value in enumerate(values):
                at = f"queue {queue}, offset {offset}: {value[:40]!r}"
                number = records.number_of(value)
                if number is None:
                    self._add("invented: nobody has sent it", at)
                elif number in places:
                    self._add("doubled: visible more than once", f"{at} and at {places[number]}")
                else:
                    places[number] = (queue, offset)
                    self._check_present(number, queue, at)
        for number, outcome in enumerate(records.outcomes):
            fate = self._fates.get(number)
            if number in places or fate in (Fate.CANCELLED, Fate.NOTHING):
                continue
            told = f"record {number}, acked {records.ended[number]:.2f} s into the run"
            if outcome == Outcome.OK:
                self._add("lost: not there after its time", told)
            elif fate == Fate.DELIVERED:
                self._add("lost: told to be delivered", told)
        return [
            Anomaly(NAME, f"{len(cases)} x {records.name}: {text}", tuple(cases[:EVIDENCE_MAX]))
            for text, cases in self._found.items()
        ]

    def _check_present(self, number: int, queue: int, at: str) -> None:
        records = self._records
        if records.outcomes[number] == Outcome.FAILED:
            self._add("denied: its owner was told never", at)
        if self._fates.get(number) == Fate.CANCELLED:
            self._add("visible although it was told to be cancelled", at)
        if records.outcomes[number] == Outcome.OK and records.queues[number] != queue:
            self._add("moved: not in the queue of its receipt", at)

    def _add(self, what: str, case: str) -> None:
        self._found.setdefault(what, []).append(case)
