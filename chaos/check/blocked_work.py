"""Work of a group that blocks what nobody can do, until somebody decides.

A message whose attempts are used up is leased again after a decision to retry, and not before. It
ends in one way: acknowledged, or as it was decided. With keys, nothing behind it is leased before
one of the two; a later one of its key that somebody had before shows that it was let by.
"""

from typing import Final

import msgspec

from chaos.check.client_history import Records
from chaos.check.work_done import NEVER, Handed, WorkDone

RETRY: Final = "retry"
SKIP: Final = "skip"
LETTER: Final = "dead-letter"


class Decision(msgspec.Struct):
    """What somebody decided about a blocked message.

    Attributes:
        verdict: "retry", "skip" or "dead-letter".
        said: When he began to say so.
        ended: When that was answered with yes.
        refused: Whether he was told that the message is not blocked. A copy of what he said may
            have been late, and have held all the same.
    """

    verdict: str
    said: float
    ended: float = NEVER
    refused: bool = False

    @property
    def confirmed(self) -> bool:
        """Whether it was answered with yes."""
        return self.ended != NEVER

    def __str__(self) -> str:
        """Show what was said when."""
        how = "refused" if self.refused else "confirmed" if self.confirmed else "without an answer"
        return f"{self.verdict} said at {self.said:.3f}, {how}"


class BlockedWork(WorkDone):
    """All work of one group on one topic."""

    def __init__(self, records: Records, attempts_max: int, *, fifo: bool = True) -> None:
        super().__init__(records, attempts_max, fifo=fifo)
        self._blocked: dict[int, float] = {}
        """By record: when somebody had the answer that it is blocked, first."""
        self._decisions: dict[int, list[Decision]] = {}

    def blocked(self, number: int, asked: float, at: float) -> str:
        """Take in an answer, asked for at ``asked``, that a message is blocked.

        Returns what shows that a later one of its key was leased before, or "".
        """
        self._blocked.setdefault(number, at)
        if not self._fifo or number in self._decisions:
            return ""  # it may have gone on since, if the answer is an old one
        lane = self._records.lanes[number]
        for later, handed in self._handed.items():
            if later > number and self._records.lanes[later] == lane:
                first = min(each.at for each in handed)
                if first < asked:
                    story = self._story(number, f"record {number} is blocked at {asked:.3f}")
                    return f"{story}; {later} was there at {first:.3f}"
        return ""

    def is_blocked(self, number: int) -> bool:
        """Whether somebody saw, at any time, that a message is blocked."""
        return number in self._blocked

    def decides(self, number: int, decision: Decision) -> None:
        """Take in that somebody decides; he notes in ``decision`` what he is told."""
        self._decisions.setdefault(number, []).append(decision)

    def refused(self, number: int, decision: Decision) -> str:
        """Take in that somebody was told, when he decided, that a message is not blocked.

        Returns what shows that it was, or "".
        """
        decision.refused = True
        is_first = self._decisions[number] == [decision]
        if decision.verdict == RETRY or not is_first or number not in self._blocked:
            return ""  # it may have gone on, by this decision or by another one
        return self._story(number, f"record {number}")

    def leased_after_end(self, number: int) -> str:
        """Return what shows, so far, that a message was leased after it was finished, or ""."""
        story = super().leased_after_end(number)
        if story:
            return story
        handed = self._handed.get(number, [])
        ends = [each.ended for each in self._of(number, SKIP, LETTER) if each.confirmed]
        since = min(ends, default=NEVER)
        seen = self._blocked.get(number, NEVER)
        for each in handed:
            is_blocked = each.asked > seen and not self._is_tried_again(each)
            if each.asked > since or is_blocked:
                return self._story(number, f"record {number}")
        return ""

    def _check_end(self, number: int, story: str) -> None:
        letters = self._letters.get(number)
        skips, buries = self._of(number, SKIP), self._of(number, LETTER)
        if letters and not buries:
            self._add("a dead letter that nobody has decided on", story)
        is_buried = any(each.confirmed for each in buries)
        if is_buried and not letters:
            self._add("lost: decided to be a dead letter, and none is there", story)
        elif not (letters or skips or self._is_acked(number, maybe=True)):
            self._add("lost: neither acknowledged, nor decided about", story)
        is_skipped = any(each.confirmed for each in skips)
        if self._is_acked(number) + is_skipped + (is_buried or bool(letters)) > 1:
            self._add("ended in more than one way", story)

    def _is_after(self, handed: Handed, end: Handed) -> bool:
        """Whether a lease can't have begun before: attempts are counted anew after a decision."""
        if end.confirmed:
            return handed.asked > end.ended
        return handed.asked > end.returned and not self._is_tried_again(handed)

    def _is_tried_again(self, handed: Handed) -> bool:
        """Whether a lease may be due to a decision: any one before it, copies can be late."""
        return any(each.said <= handed.at for each in self._of(handed.number, RETRY))

    def _decided_at(self, number: int) -> float:
        if self._is_acked(number, maybe=True):
            return 0.0
        return min((each.said for each in self._of(number, SKIP, LETTER)), default=0.0)

    def _of(self, number: int, *verdicts: str) -> list[Decision]:
        """Return what was decided about a message that may have held."""
        return [each for each in self._decisions.get(number, ()) if each.verdict in verdicts]

    def _story(self, number: int, where: str) -> str:
        told = [super()._story(number, where), *map(str, self._decisions.get(number, ()))]
        if number in self._blocked:
            told.append(f"seen to be blocked at {self._blocked[number]:.3f}")
        return "; ".join(told)
