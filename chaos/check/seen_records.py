"""What readers and groups were handed, against the queues as they are in the end.

Changed: another record at that offset than was read there, by anybody at any time. Unseen: in the
queue and never handed to the group, although all of it is committed.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Final

from chaos.check.client_history import Anomaly, Records

NAME: Final = "seen_records"
EVIDENCE_MAX: Final = 5
NOTHING: Final = -1
STRANGE: Final = -2
"""Bytes that nobody has sent."""


class Seen:
    """Which record one audience has seen at each offset of each queue."""

    def __init__(self, who: str) -> None:
        self.who: Final = who
        self.count = 0
        self.again = 0
        """Records that were handed out once more: at least once is what a group promises."""
        self._numbers: dict[int, array[int]] = {}
        self._changed: list[str] = []

    def take(self, records: Records, queue: int, offset: int, value: bytes) -> None:
        """Take in that it was handed this."""
        number = records.number_of(value)
        known = STRANGE if number is None else number
        numbers = self._numbers.setdefault(queue, array("q"))
        if offset >= len(numbers):
            numbers.extend([NOTHING] * (offset + 1 - len(numbers)))
        before = numbers[offset]
        self.count += 1
        self.again += before != NOTHING
        if before not in (NOTHING, known):
            self._changed.append(f"queue {queue}, offset {offset}: first {before}, then {known}")
        numbers[offset] = known

    def check(
        self, records: Records, log: Mapping[int, Sequence[bytes]], *, all_of_it: bool
    ) -> list[Anomaly]:
        """Compare with the end; ``all_of_it``: nothing may be missing."""
        changed, unseen = list(self._changed), []
        for queue, values in log.items():
            numbers = self._numbers.get(queue, array("q"))
            for offset, value in enumerate(values):
                number = numbers[offset] if offset < len(numbers) else NOTHING
                at = f"queue {queue}, offset {offset}: {value[:40]!r}"
                if number == NOTHING:
                    unseen.append(at)
                elif records.number_of(value) != number:
                    changed.append(f"{at} was read as record {number}")
        for queue, numbers in self._numbers.items():
            behind = [number for number in numbers[len(log.get(queue, ())) :] if number != NOTHING]
            changed += [f"queue {queue}: record {number}, read, is gone" for number in behind]
        found = []
        if changed:
            text = f"{len(changed)} x {self.who}: read what is not there now"
            found.append(Anomaly(NAME, text, tuple(changed[:EVIDENCE_MAX])))
        if unseen and all_of_it:
            text = f"{len(unseen)} x {self.who}: never handed out"
            found.append(Anomaly(NAME, text, tuple(unseen[:EVIDENCE_MAX])))
        return found
