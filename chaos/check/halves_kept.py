"""Half messages as their owners, checkers and readers saw them.

What is to become of each is in the owners' own records (here: a table), written once before
anybody tells the cluster. A message is there once if that says commit, and never otherwise;
and no reader has it before.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from chaos.check.client_history import Anomaly, Outcome, Records

NAME: Final = "halves_kept"
EVIDENCE_MAX: Final = 5


class Halves:
    """All half messages of one topic, and the table of what is to become of them."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._commits: dict[int, bool] = {}
        self._found: dict[str, list[str]] = {}
        self.seen_count = 0

    def decide(self, number: int, *, commit: bool) -> bool:
        """Write what is to become of a message, if nobody has; return what is written."""
        return self._commits.setdefault(number, commit)

    def told_otherwise(self, number: int, text: str) -> None:
        """Take in that the cluster has decided a message the other way."""
        self._add("decided otherwise than anybody has said", f"record {number}: {text}")

    def asked(self, value: bytes) -> int | None:
        """Return which message a checker is asked about."""
        number = self._records.number_of(value)
        if number is None:
            self._add("invented: a checker is asked about what nobody has sent", f"{value[:40]!r}")
        return number

    def seen(self, queue: int, offset: int, value: bytes) -> None:
        """Take in that a reader has a message now."""
        self.seen_count += 1
        number = self._records.number_of(value)
        if number is not None and not self._commits.get(number, False):
            at = f"record {number}, queue {queue}, offset {offset}: it is {self._fate(number)}"
            self._add("early: visible, and nobody has committed it", at)

    def check(self, log: Mapping[int, Sequence[bytes]]) -> list[Anomaly]:
        """Compare with the end, when nothing is undecided."""
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
                    if records.outcomes[number] == Outcome.FAILED:
                        self._add("denied: its owner was told that it is not stored", at)
                    elif not self._commits.get(number, False):
                        self._add(f"visible although {self._fate(number)}", at)
        for number, is_commit in self._commits.items():
            if is_commit and number not in places:
                self._add("lost: committed, and not there", f"record {number}")
        for number, outcome in enumerate(records.outcomes):
            told = (records.queues[number], records.offsets[number])
            if outcome == Outcome.OK and number in places and places[number] != told:
                text = f"record {number}, told to be at {told}, is at {places[number]}"
                self._add("moved: not where its receipt says", text)
        return [
            Anomaly(NAME, f"{len(cases)} x {records.name}: {text}", tuple(cases[:EVIDENCE_MAX]))
            for text, cases in self._found.items()
        ]

    def _fate(self, number: int) -> str:
        return "rolled back" if number in self._commits else "undecided"

    def _add(self, what: str, case: str) -> None:
        self._found.setdefault(what, []).append(case)
