"""Work of a queue-style group, as its members saw it: each message is finished once, in one way.

Lost: in its queue, and neither acknowledged nor a dead letter, although nothing is left. Again:
leased to somebody after an acknowledgement that was confirmed, or after its last attempt was said
to have failed. What can't be known (an acknowledgement without an answer) excuses a message from
having to be finished, and nothing else. With keys, the next message of a key is leased when the
one before is finished. Groups that make no dead letters: ``skipped_work`` and ``blocked_work``.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from chaos.check.client_history import Anomaly, Records

NAME: Final = "work_done"
EVIDENCE_MAX: Final = 5
NEVER: Final = float("inf")


class Handed(msgspec.Struct):
    """A message, leased to a member.

    Attributes:
        number: The record.
        attempts: Which attempt it is, as it was told.
        asked: When the request for it began.
        at: When it was there.
        said: When its acknowledgement began.
        ended: When that was answered with yes.
        returned: When it was answered with yes that the attempt has failed.
        open: Whether it may have been acknowledged without an answer.
        rejected: Whether it was to be a dead letter at once.
    """

    number: int
    attempts: int
    asked: float
    at: float
    said: float = NEVER
    ended: float = NEVER
    returned: float = NEVER
    open: bool = False
    rejected: bool = False

    @property
    def confirmed(self) -> bool:
        """Whether its acknowledgement was answered with yes."""
        return self.ended != NEVER

    def __str__(self) -> str:
        """Show what happened when."""
        ack = "" if self.said == NEVER else f", acked at {self.said:.3f}"
        how = " and confirmed" if self.confirmed else ""
        back = "" if self.returned == NEVER else f", given back at {self.returned:.3f}"
        got = f"attempt {self.attempts} asked for at {self.asked:.3f}, there at {self.at:.3f}"
        return got + ack + how + back


class WorkDone:
    """All work of one group on one topic.

    Args:
        records: What was sent.
        attempts_max: How often a message is leased.
        fifo: Whether the messages of a key come one after the other.
    """

    def __init__(self, records: Records, attempts_max: int, *, fifo: bool = True) -> None:
        self._records = records
        self._attempts_max = attempts_max
        self._fifo = fifo
        self._handed: dict[int, list[Handed]] = {}
        self._letters: dict[int, list[int]] = {}
        """By record: the attempts that each of its dead letters tells."""
        self._strange: list[str] = []
        self._found: dict[str, list[str]] = {}

    def handed(self, value: bytes, attempts: int, asked: float, at: float) -> Handed:
        """Take in a message that a member got; the member notes in it what it does with it."""
        number = self._records.number_of(value)
        one = Handed(-1 if number is None else number, attempts, asked, at)
        if number is None:
            self._strange.append(f"{value[:40]!r}: {one}")
        else:
            self._handed.setdefault(number, []).append(one)
        return one

    def finished(self, handed: Handed, now: float) -> None:
        """Take in that an acknowledgement was answered with yes."""
        handed.open, handed.ended = False, now

    def leased_after_end(self, number: int) -> str:
        """Return what shows, so far, that a message was leased after it was finished, or ""."""
        handed = self._handed.get(number, [])
        ends = [each for each in handed if each.confirmed or self._is_used_up(each)]
        if any(self._is_after(each, end) for end in ends for each in handed if each is not end):
            return self._story(number, f"record {number}")
        return ""

    def letter(self, value: bytes, attempts: int) -> None:
        """Take in a dead letter."""
        number = self._records.number_of(value)
        if number is None:
            self._strange.append(f"{value[:40]!r}: a dead letter after {attempts} attempts")
        else:
            self._letters.setdefault(number, []).append(attempts)

    def check(self, log: Mapping[int, Sequence[bytes]]) -> list[Anomaly]:
        """Compare with the queues, when the group has nothing left to do."""
        found, stored = self._found, set[int]()
        for case in self._strange:
            self._add("invented: nobody has sent it", case)
        for queue, values in log.items():
            lanes: dict[int, list[int]] = {}
            for offset, value in enumerate(values):
                number = self._records.number_of(value)
                if number is None or number in stored:
                    continue  # the check of the topic itself tells
                stored.add(number)
                lanes.setdefault(self._records.lanes[number], []).append(number)
                self._check_one(number, f"queue {queue}, offset {offset}, record {number}")
            if self._fifo:
                for lane, numbers in lanes.items():
                    self._check_order(numbers, f"queue {queue}, key {lane}")
        for number in sorted((self._handed.keys() | self._letters.keys()) - stored):
            self._add("handed out, and not in the topic", f"record {number}")
        self._check_all()
        return [
            Anomaly(
                NAME, f"{len(cases)} x {self._records.name}: {text}", tuple(cases[:EVIDENCE_MAX])
            )
            for text, cases in found.items()
        ]

    def _check_one(self, number: int, where: str) -> None:
        handed, letters = self._handed.get(number, []), self._letters.get(number, [])
        acks = [each for each in handed if each.confirmed]
        story = self._story(number, where)
        self._check_end(number, story)
        if len(letters) > 1:
            self._add("doubled: more than one dead letter", story)
        if acks and letters:
            self._add("acknowledged with confirmation, and a dead letter all the same", story)
        has_failed = any(self._is_used_up(each) for each in handed)
        if has_failed and any(not self._is_tried_again(ack) for ack in acks):
            self._add("acknowledged with confirmation, after its last attempt had failed", story)
        if len(acks) > 1:
            self._add("acknowledged more than once, each confirmed", story)
        if self.leased_after_end(number):
            self._add("again: leased after its end was confirmed", story)
        if any(each.attempts > self._attempts_max for each in handed):
            self._add(f"leased more often than the {self._attempts_max} attempts", story)
        is_rejected = any(each.rejected for each in handed)
        if any(n < self._attempts_max for n in letters) and not is_rejected:
            self._add("a dead letter before its attempts were used up", story)

    def _check_end(self, number: int, story: str) -> None:
        """Hold it against how messages of this group may end."""
        if not (self._is_acked(number, maybe=True) or self._letters.get(number)):
            self._add("lost: neither acknowledged nor a dead letter", story)

    def _check_all(self) -> None:
        """Hold against each other what is known of all of them only."""

    def _check_order(self, numbers: Sequence[int], where: str) -> None:
        """Hold the messages of one key, in their order, against each other."""
        later, after = NEVER, -1
        for number in reversed(numbers):
            handed = self._handed.get(number, ())
            for each in handed:
                # Whoever had a later one by then shows that this one was finished before.
                is_late = each.asked > later or (each.confirmed and _first_ack(handed) > later)
                if is_late:
                    text = f"{where}: record {number}, {each}; {after} was there at {later:.3f}"
                    self._add("overtaken: a later one of its key was leased before its end", text)
                    break
            if (decided := self._decided_at(number)) > later:
                text = f"{where}: record {number}, decided at {decided:.3f}; {after} was there"
                text = f"{text} at {later:.3f}"
                self._add("overtaken: a later one of its key was leased before its end", text)
            first = min((each.at for each in handed), default=NEVER)
            if first < later:
                later, after = first, number

    # -- what a group of another kind knows better

    def _is_after(self, handed: Handed, end: Handed) -> bool:
        """Whether a lease can't have begun before an end that was confirmed."""
        return handed.attempts > end.attempts or handed.asked > min(end.ended, end.returned)

    def _is_used_up(self, handed: Handed) -> bool:
        """Whether it is confirmed that this was the last attempt, and has failed."""
        is_last = handed.attempts >= self._attempts_max or handed.rejected
        return is_last and handed.returned != NEVER

    def _is_tried_again(self, handed: Handed) -> bool:
        """Whether a lease may have begun after the last attempt of its message."""
        del handed
        return False

    def _decided_at(self, number: int) -> float:
        """Return before when a message has not ended, as far as only its end can tell."""
        del number
        return 0.0

    def _is_acked(self, number: int, *, maybe: bool = False) -> bool:
        """Whether a message was acknowledged with confirmation, or may have been acknowledged."""
        handed = self._handed.get(number, ())
        return any(each.confirmed or (maybe and each.open) for each in handed)

    def _story(self, number: int, where: str) -> str:
        handed, letters = self._handed.get(number, ()), self._letters.get(number, ())
        return "; ".join([where, *map(str, handed), *(f"a dead letter ({n})" for n in letters)])

    def _add(self, what: str, case: str) -> None:
        self._found.setdefault(what, []).append(case)


def _first_ack(handed: Sequence[Handed]) -> float:
    return min(each.said for each in handed if each.confirmed or each.open)
