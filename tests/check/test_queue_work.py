"""Queue-style groups as their members saw them: without order, with what is skipped or blocked."""

from collections.abc import Callable

import pytest

from chaos.check.blocked_work import LETTER, RETRY, SKIP, BlockedWork, Decision
from chaos.check.client_history import Records
from chaos.check.skipped_work import SkippedWork
from chaos.check.work_done import NAME, Handed, WorkDone

ATTEMPTS = 2
GOOD: list[str] = []


class History:
    """Messages in one queue, and what members do with them; an answer takes half a second."""

    def __init__(self, *lanes: int) -> None:
        self.records = Records("jobs")
        for lane in lanes:
            self.records.begin(lane, 0.0)

    def handed(self, work: WorkDone, number: int, attempts: int, asked: float) -> Handed:
        """Give it to a member that says nothing of it."""
        return work.handed(self.records.value(number), attempts, asked, asked + 0.5)

    def acked(self, work: WorkDone, number: int, attempts: int, asked: float) -> None:
        """Give it to a member that acknowledges it a second after it has asked."""
        handed = self.handed(work, number, attempts, asked)
        handed.said = asked + 1.0
        work.finished(handed, asked + 1.5)

    def open(self, work: WorkDone, number: int, attempts: int, asked: float) -> None:
        """Give it to a member whose acknowledgement is not answered."""
        handed = self.handed(work, number, attempts, asked)
        handed.said, handed.open = asked + 1.0, True

    def failed(
        self, work: WorkDone, number: int, attempts: int, asked: float, *, rejected: bool = False
    ) -> None:
        """Give it to a member that says a second later that it has failed, and is told yes."""
        handed = self.handed(work, number, attempts, asked)
        handed.rejected = rejected
        handed.returned = asked + 1.5

    def letter(self, work: WorkDone, number: int, attempts: int = ATTEMPTS) -> None:
        work.letter(self.records.value(number), attempts)

    def told(self, work: WorkDone) -> list[str]:
        """What the end shows, without the count and the topic."""
        found = work.check({0: [self.records.value(n) for n in range(len(self.records))]})
        assert all(each.check == NAME and each.evidence for each in found)
        return [each.text.split("jobs: ")[1] for each in found]


def decided(
    work: BlockedWork, number: int, verdict: str, said: float, *, confirmed: bool = True
) -> Decision:
    """Let somebody decide, who is answered half a second later, or never."""
    decision = Decision(verdict, said)
    work.decides(number, decision)
    if confirmed:
        decision.ended = said + 0.5
    return decision


# -- whatever becomes of what can't be done


@pytest.fixture
def one() -> History:
    """One message."""
    return History(0)


@pytest.fixture
def two() -> History:
    """Two messages of one key."""
    return History(7, 7)


@pytest.mark.parametrize("rejected", [False, True])
def test_the_last_attempt_has_failed_and_it_is_leased_again(
    one: History, *, rejected: bool
) -> None:
    work = WorkDone(one.records, ATTEMPTS)
    attempts = 1 if rejected else ATTEMPTS
    one.failed(work, 0, attempts, 1.0, rejected=rejected)
    one.handed(work, 0, attempts, 1.0)  # by the same request, or at the same time: who knows
    assert not work.leased_after_end(0)
    one.handed(work, 0, attempts, 2.6)
    one.letter(work, 0, attempts)
    assert "given back at 2.500" in work.leased_after_end(0)
    assert one.told(work) == ["again: leased after its end was confirmed"]


def test_an_attempt_that_is_not_the_last_ends_nothing(one: History) -> None:
    work = WorkDone(one.records, ATTEMPTS)
    one.failed(work, 0, 1, 1.0)
    one.acked(work, 0, 2, 3.0)
    assert not work.leased_after_end(0)
    assert one.told(work) == GOOD


@pytest.mark.parametrize("make", [WorkDone, SkippedWork, BlockedWork])
def test_an_old_lease_is_acknowledged_after_the_last_attempt(
    one: History, make: Callable[[Records, int], WorkDone]
) -> None:
    work = make(one.records, ATTEMPTS)
    late = one.handed(work, 0, 1, 1.0)
    one.failed(work, 0, ATTEMPTS, 4.0)
    assert not work.leased_after_end(0)
    late.said = 6.0
    work.finished(late, 6.5)
    failed = "acknowledged with confirmation, after its last attempt had failed"
    assert failed in one.told(work)


def test_without_order_nobody_overtakes(two: History) -> None:
    for fifo in (True, False):
        work = WorkDone(two.records, ATTEMPTS, fifo=fifo)
        two.acked(work, 1, 1, 1.0)
        two.acked(work, 0, 1, 4.0)
        overtaken = "overtaken: a later one of its key was leased before its end"
        assert two.told(work) == ([overtaken] if fifo else GOOD)


def test_without_order_each_is_finished_once_all_the_same() -> None:
    history = History(7, 7, 7)
    work = WorkDone(history.records, ATTEMPTS, fifo=False)
    history.acked(work, 1, 1, 1.0)
    history.acked(work, 1, 1, 4.0)
    history.acked(work, 2, 1, 1.0)
    assert history.told(work) == [
        "lost: neither acknowledged nor a dead letter",
        "acknowledged more than once, each confirmed",
        "again: leased after its end was confirmed",
    ]


# -- a group that skips


def skipping(history: History, skipped: int) -> SkippedWork:
    """The first is acknowledged, the second fails; the third nobody knows of; so many skipped."""
    work = SkippedWork(history.records, ATTEMPTS)
    history.acked(work, 0, 1, 1.0)
    history.failed(work, 1, ATTEMPTS, 1.0)
    history.open(work, 2, 1, 1.0)
    work.skipped = skipped
    return work


@pytest.mark.parametrize(
    ("skipped", "told"),
    [
        (0, ["lost: neither acknowledged nor skipped"]),
        (1, GOOD),
        (2, GOOD),
        (3, ["skipped, and acknowledged with confirmation all the same"]),
    ],
)
def test_what_is_not_acknowledged_is_skipped(skipped: int, told: list[str]) -> None:
    history = History(0, 1, 2)
    assert history.told(skipping(history, skipped)) == told


def test_what_is_lost_may_be_any_of_those_that_nobody_has_finished() -> None:
    history = History(0, 1, 2, 3)
    work = skipping(history, 1)
    (found,) = work.check({0: [history.records.value(number) for number in range(4)]})
    (case,) = found.evidence
    for text in ("1 are skipped; 2 to 3 were not", "record 1; attempt 2", "offset 3, record 3"):
        assert text in case


def test_who_skips_makes_no_dead_letter() -> None:
    history = History(0, 1, 2)
    work = skipping(history, 1)
    history.letter(work, 1)
    assert history.told(work) == ["a dead letter of a group that makes none"]


def test_what_is_skipped_is_not_leased_again_and_lets_its_key_go_on(two: History) -> None:
    work = SkippedWork(two.records, ATTEMPTS)
    work.skipped = 1
    two.failed(work, 0, ATTEMPTS, 1.0)
    two.acked(work, 1, 1, 3.0)
    assert two.told(work) == GOOD
    two.handed(work, 0, ATTEMPTS, 3.6)
    assert "again: leased after its end was confirmed" in two.told(work)


# -- a group that blocks


def blocked(history: History, number: int = 0, at: float = 4.0) -> BlockedWork:
    """Both attempts fail, and somebody sees that it is blocked."""
    work = BlockedWork(history.records, ATTEMPTS)
    history.failed(work, number, 1, at - 3.0)
    history.failed(work, number, ATTEMPTS, at - 2.0)
    assert not work.is_blocked(number)
    assert not work.blocked(number, at, at + 0.5)
    assert work.is_blocked(number)
    return work


def test_what_is_blocked_ends_as_it_was_decided(one: History) -> None:
    work = blocked(one)
    decided(work, 0, SKIP, 5.0)
    assert one.told(work) == GOOD

    work = blocked(one)
    decided(work, 0, LETTER, 5.0)
    one.letter(work, 0)
    assert one.told(work) == GOOD

    work = blocked(one)
    decided(work, 0, RETRY, 5.0)
    one.failed(work, 0, 1, 6.0)
    one.acked(work, 0, 2, 8.0)
    assert not work.leased_after_end(0)
    assert one.told(work) == GOOD


@pytest.mark.parametrize("verdict", [SKIP, LETTER])
def test_a_decision_without_an_answer_held_or_did_not(one: History, verdict: str) -> None:
    work = blocked(one)
    decided(work, 0, verdict, 5.0, confirmed=False)
    if verdict == LETTER:
        one.letter(work, 0)
    assert one.told(work) == GOOD

    work = blocked(one)
    decided(work, 0, verdict, 5.0, confirmed=False)
    assert not work.blocked(0, 7.0, 7.5)
    decided(work, 0, RETRY, 8.0)
    one.acked(work, 0, 1, 9.0)
    assert one.told(work) == GOOD


def test_an_old_lease_tries_on_after_a_decision_to_retry(one: History) -> None:
    """A member that has it since the decision may be told that it is done, or that it failed."""
    work = blocked(one)
    decided(work, 0, RETRY, 5.0, confirmed=False)
    one.failed(work, 0, 1, 5.0)
    one.failed(work, 0, ATTEMPTS, 7.0)
    decided(work, 0, RETRY, 10.0)
    one.acked(work, 0, 1, 11.0)
    assert not work.leased_after_end(0)
    assert one.told(work) == GOOD


def test_what_is_blocked_is_leased_without_a_decision(one: History) -> None:
    work = BlockedWork(one.records, ATTEMPTS)
    one.handed(work, 0, ATTEMPTS, 1.0)  # its lease ends
    assert not work.blocked(0, 4.0, 4.5)
    one.handed(work, 0, ATTEMPTS, 4.4)  # asked for before somebody saw that
    assert not work.leased_after_end(0)
    again = one.handed(work, 0, ATTEMPTS, 4.6)
    assert "seen to be blocked at 4.500" in work.leased_after_end(0)
    decided(work, 0, RETRY, again.at + 0.1)
    assert work.leased_after_end(0), "it was decided later"
    decided(work, 0, SKIP, 7.0)
    assert one.told(work) == ["again: leased after its end was confirmed"]


def test_what_has_failed_for_the_last_time_is_leased_without_a_decision(one: History) -> None:
    work = BlockedWork(one.records, ATTEMPTS)
    one.failed(work, 0, ATTEMPTS, 1.0)
    one.acked(work, 0, ATTEMPTS, 3.0)
    assert work.leased_after_end(0), "nobody has seen it blocked, but it was"
    assert "again: leased after its end was confirmed" in one.told(work)


@pytest.mark.parametrize("verdict", [SKIP, LETTER])
def test_what_is_decided_is_leased_all_the_same(one: History, verdict: str) -> None:
    work = blocked(one)
    decided(work, 0, RETRY, 5.0)
    decided(work, 0, verdict, 8.0)
    one.handed(work, 0, 1, 8.4)
    assert not work.leased_after_end(0), "asked for before the answer"
    one.handed(work, 0, 1, 8.6)
    assert f"{verdict} said at 8.000, confirmed" in work.leased_after_end(0)
    if verdict == LETTER:
        one.letter(work, 0)
    assert one.told(work) == ["again: leased after its end was confirmed"]


@pytest.mark.parametrize("verdict", [None, RETRY])
def test_what_is_blocked_is_lost(one: History, verdict: str | None) -> None:
    work = blocked(one)
    if verdict:
        decided(work, 0, verdict, 5.0)
    assert one.told(work) == ["lost: neither acknowledged, nor decided about"]


def test_what_is_decided_to_be_a_dead_letter_is_none(one: History) -> None:
    work = blocked(one)
    decided(work, 0, LETTER, 5.0)
    assert one.told(work) == ["lost: decided to be a dead letter, and none is there"]


def test_a_dead_letter_that_nobody_has_decided_on(one: History) -> None:
    work = blocked(one)
    decided(work, 0, SKIP, 5.0, confirmed=False)
    one.letter(work, 0)
    assert one.told(work) == ["a dead letter that nobody has decided on"]


@pytest.mark.parametrize("has_letter", [False, True])
def test_what_is_skipped_is_something_else_as_well(one: History, *, has_letter: bool) -> None:
    work = blocked(one)
    decided(work, 0, SKIP, 5.0)
    if has_letter:
        decided(work, 0, LETTER, 4.0, confirmed=False)
        one.letter(work, 0)
    else:
        decided(work, 0, RETRY, 4.0)
        one.acked(work, 0, 1, 4.5)
    assert one.told(work) == ["ended in more than one way"]


def test_a_decision_about_what_is_blocked_is_refused(one: History) -> None:
    work = blocked(one)
    decision = decided(work, 0, SKIP, 5.0, confirmed=False)
    assert "skip said at 5.000, refused" in work.refused(0, decision)
    assert one.told(work) == GOOD, "a copy of it can have been late"


def test_a_decision_about_what_has_gone_on_is_refused(one: History) -> None:
    work = blocked(one)
    assert not work.refused(0, decided(work, 0, RETRY, 5.0, confirmed=False)), "asked again"
    assert not work.refused(0, decided(work, 0, SKIP, 6.0, confirmed=False)), "it was retried"
    work = BlockedWork(one.records, ATTEMPTS)
    assert not work.refused(0, decided(work, 0, SKIP, 6.0, confirmed=False)), "nobody saw it"


def test_a_key_waits_for_what_is_blocked() -> None:
    history = History(7, 8, 7)
    work = blocked(history)
    history.acked(work, 1, 1, 1.0)  # of another key
    decided(work, 0, SKIP, 5.0)
    history.acked(work, 2, 1, 5.1)
    assert not work.blocked(0, 4.0, 9.0), "an old answer"
    assert history.told(work) == GOOD


def test_a_key_goes_on_while_it_is_blocked(two: History) -> None:
    work = BlockedWork(two.records, ATTEMPTS)
    two.failed(work, 0, ATTEMPTS, 1.0)
    two.acked(work, 1, 1, 3.0)  # there at 3.5
    assert not work.blocked(0, 3.4, 6.0)
    assert "1 was there at 3.500" in work.blocked(0, 3.6, 6.0)
    decided(work, 0, SKIP, 7.0)
    assert two.told(work) == ["overtaken: a later one of its key was leased before its end"]


def test_a_key_does_not_wait_where_there_is_no_order(two: History) -> None:
    work = BlockedWork(two.records, ATTEMPTS, fifo=False)
    two.failed(work, 0, ATTEMPTS, 1.0)
    two.acked(work, 1, 1, 3.0)
    assert not work.blocked(0, 5.0, 6.0)
    decided(work, 0, SKIP, 7.0)
    assert two.told(work) == GOOD


def test_what_was_acknowledged_perhaps_let_its_key_go_on_by_that(two: History) -> None:
    work = BlockedWork(two.records, ATTEMPTS)
    two.open(work, 0, 1, 1.0)
    two.acked(work, 1, 1, 3.0)
    decided(work, 0, SKIP, 7.0, confirmed=False)
    assert two.told(work) == GOOD
