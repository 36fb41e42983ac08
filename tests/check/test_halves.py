"""The invariants of half messages see what they are for."""

import pytest
from msgspec import structs

from chaos.check.delayed_delivery import Pending
from chaos.check.half_checks import check_asked, check_counted
from chaos.check.half_decided import check_forgotten, check_told_decided, check_verdict
from chaos.check.half_hidden import check_seen, check_still_hidden
from chaos.check.half_kept import OpenHalf, check_known, check_listed, check_open, expected_row
from chaos.check.half_model import HalfMessage, Outcome, Owner, Standing
from chaos.check.half_once import check_again, check_commit, check_staged
from chaos.check.half_owner import check_begun, check_fenced, check_group, check_owner
from chaos.check.violation import Violation

KEY = (7, 58)
COMMITTED = Outcome(Standing.COMMITTED, 3, 100, 2, 4, 9)


def half(standing: Standing = Standing.OPEN, *, checks: int = 0) -> HalfMessage:
    """One of two records, stored as 50 in entry 6."""
    made = HalfMessage(Pending(3, 50, 0, 2, 6, 20, b"data"), next_ms=600, checks=checks)
    made.standing = standing
    if standing is Standing.COMMITTED:
        made.outcome = COMMITTED
    made.decided_ms = 1_000
    return made


@pytest.mark.parametrize(
    ("standing", "is_seen"),
    [
        (Standing.OPEN, True),
        (Standing.ROLLED_BACK, True),
        (Standing.LOST, True),
        (Standing.COMMITTED, False),
    ],
)
def test_only_what_is_committed_is_read(standing: Standing, *, is_seen: bool) -> None:
    """Never before, and never after a rollback."""
    if not is_seen:
        check_seen(KEY, half(standing), "queue 3")
        return
    with pytest.raises(Violation, match=f"it is {standing.value}"):
        check_seen(KEY, half(standing), "queue 3")


def test_a_replica_hides_what_is_open_and_nothing_else() -> None:
    """A row that stays is shown twice one day; one that goes is lost."""
    check_still_hidden("n1", KEY, half(), {(3, 50)})
    check_still_hidden("n1", KEY, half(Standing.ROLLED_BACK), set())
    with pytest.raises(Violation, match="no more"):
        check_still_hidden("n1", KEY, half(), {(3, 51)})
    with pytest.raises(Violation, match="still hides"):
        check_still_hidden("n1", KEY, half(Standing.COMMITTED), {(3, 50)})


def test_a_copy_is_told_of_the_first_one() -> None:
    """It is stored once, whatever became of it."""
    check_staged(KEY, None, 50, duplicate=False)
    check_staged(KEY, half(), 50, duplicate=True)
    for known in (half(), half(Standing.ROLLED_BACK)):
        with pytest.raises(Violation, match="stored again"):
            check_staged(KEY, known, 51, duplicate=False)
    for known, id_ in ((half(), 51), (half(Standing.COMMITTED), 50)):
        with pytest.raises(Violation, match="told to be open"):
            check_staged(KEY, known, id_, duplicate=True)
    with pytest.raises(Violation, match="never came"):
        check_staged(KEY, None, 50, duplicate=True)


@pytest.mark.parametrize(
    "told",
    [
        structs.replace(COMMITTED, base_offset=99),
        structs.replace(COMMITTED, queue=4),
        structs.replace(COMMITTED, count=1),
        structs.replace(COMMITTED, index=8),
    ],
)
def test_a_commit_puts_it_at_the_end_of_its_queue(told: Outcome) -> None:
    """By the entry of its decision."""
    check_commit(KEY, half(), COMMITTED, 100, 9)
    with pytest.raises(Violation, match="told to be at"):
        check_commit(KEY, half(), told, 100, 9)


def test_nothing_is_committed_that_never_came() -> None:
    """Its number may have been rolled back."""
    with pytest.raises(Violation, match="never came"):
        check_commit(KEY, HalfMessage(None), COMMITTED, 100, 9)


def test_a_repeat_is_told_the_first_outcome() -> None:
    """All of it: queue, offset, count, term, index."""
    check_again(KEY, half(Standing.COMMITTED), COMMITTED)
    with pytest.raises(Violation, match="it was"):
        check_again(KEY, half(Standing.COMMITTED), structs.replace(COMMITTED, base_offset=102))


def test_a_decision_never_changes() -> None:
    """Nor is anything committed that never came."""
    check_verdict(KEY, half(), Standing.COMMITTED)
    check_verdict(KEY, half(Standing.COMMITTED), Standing.COMMITTED)
    check_verdict(KEY, None, Standing.ROLLED_BACK)
    with pytest.raises(Violation, match="never came"):
        check_verdict(KEY, None, Standing.COMMITTED)
    for before in (Standing.ROLLED_BACK, Standing.LOST):
        with pytest.raises(Violation, match="before"):
            check_verdict(KEY, half(before), Standing.COMMITTED)


def test_who_is_told_that_it_was_decided_otherwise_is_told_the_truth() -> None:
    """It is decided, and in another way."""
    rolled_back = half(Standing.ROLLED_BACK)
    check_told_decided(KEY, rolled_back, Standing.COMMITTED, may_be_lost=False)
    check_told_decided(KEY, rolled_back, None, may_be_lost=False)
    check_told_decided(KEY, half(), Standing.COMMITTED, may_be_lost=True)
    with pytest.raises(Violation, match="it is open"):
        check_told_decided(KEY, half(), Standing.COMMITTED, may_be_lost=False)
    with pytest.raises(Violation, match="it is rolled back"):
        check_told_decided(KEY, rolled_back, Standing.ROLLED_BACK, may_be_lost=True)
    with pytest.raises(Violation, match="never came"):
        check_told_decided(KEY, None, None, may_be_lost=True)


def test_a_decision_is_forgotten_after_its_time_only() -> None:
    """And never before it was made."""
    check_forgotten(KEY, half(Standing.COMMITTED), 1_500, 500)
    with pytest.raises(Violation, match="forgotten at 1499"):
        check_forgotten(KEY, half(Standing.COMMITTED), 1_499, 500)
    for known in (None, half()):
        with pytest.raises(Violation, match="it is"):
            check_forgotten(KEY, known, 9_000, 500)


@pytest.mark.parametrize(
    ("checks", "check", "told", "is_good"),
    [
        (0, 1, 1, True),
        (1, 1, 1, True),
        (1, 2, 2, True),
        (15, 16, 15, True),
        (1, 1, 2, False),
        (1, 2, 1, False),
        (1, 3, 2, False),
        (15, 16, 16, False),
    ],
)
def test_an_answer_counts_once(checks: int, check: int, told: int, *, is_good: bool) -> None:
    """The one that is awaited; one that is repeated does not, nor one after the last."""
    if is_good:
        assert check_counted(KEY, half(checks=checks), check, told, 15) == told
        return
    with pytest.raises(Violation, match="were counted before"):
        check_counted(KEY, half(checks=checks), check, told, 15)


def test_nothing_counts_for_what_is_decided() -> None:
    """Nor for what never came."""
    for known in (None, half(Standing.COMMITTED)):
        with pytest.raises(Violation, match="counts"):
            check_counted(KEY, known, 1, 1, 15)


def test_a_member_is_asked_about_what_is_there() -> None:
    """With its bytes, and not once too often."""
    check_asked(KEY, half(checks=1), 2, b"data", 15)
    with pytest.raises(Violation, match="never came"):
        check_asked(KEY, None, 1, b"data", 15)
    with pytest.raises(Violation, match="other bytes"):
        check_asked(KEY, half(), 1, b"date", 15)
    for check, checks in ((0, 0), (2, 0), (16, 15)):
        with pytest.raises(Violation, match="is asked for"):
            check_asked(KEY, half(checks=checks), check, b"data", 15)


@pytest.mark.parametrize(
    ("checks", "now_ms", "parked"), [(14, 600, False), (15, 599, False), (15, 600, True)]
)
def test_it_is_parked_after_its_last_check(checks: int, now_ms: int, *, parked: bool) -> None:
    """When the next one would be due."""
    row = expected_row(half(checks=checks), now_ms, 15)
    assert row == OpenHalf(3, 50, checks, 600, parked)


def test_none_is_dropped() -> None:
    """What a replica has open is what is open."""
    row = expected_row(half(), 0, 15)
    check_open("n1", {KEY: row}, {KEY: row})
    for found in ({}, {KEY: row, (7, 59): row}, {KEY: row._replace(parked=True)}):
        with pytest.raises(Violation, match="n1 has"):
            check_open("n1", found, {KEY: row})


def test_a_decision_is_remembered() -> None:
    """As it was."""
    check_known("n1", KEY, COMMITTED, half(Standing.COMMITTED))
    for row in (None, structs.replace(COMMITTED, count=1)):
        with pytest.raises(Violation, match="remembers"):
            check_known("n1", KEY, row, half(Standing.COMMITTED))


def test_a_list_has_all_that_is_open() -> None:
    """Others may have come meanwhile."""
    check_listed([KEY, (7, 59)], [KEY])
    with pytest.raises(Violation, match="in no list"):
        check_listed([(7, 59)], [KEY])


def test_who_begins_is_the_only_owner() -> None:
    """A new epoch, new numbers; who was before does nothing more."""
    owner = Owner("billing-1", "billing", 2, 58)
    check_begun(None, 7, 1, 1)
    check_begun(owner, 7, 3, 59)
    for epoch, next_number in ((2, 59), (4, 59), (3, 58)):
        with pytest.raises(Violation, match="transactor 7"):
            check_begun(owner, 7, epoch, next_number)
    assert check_owner(owner, 7, 2, "decides") is owner
    for known, epoch in ((None, 1), (owner, 1), (owner, 3)):
        with pytest.raises(Violation, match="decides"):
            check_owner(known, 7, epoch, "decides")


def test_only_who_was_taken_over_is_fenced() -> None:
    """And only its group answers for it."""
    owner = Owner("billing-1", "billing", 2)
    check_fenced(owner, 7, 1)
    for known, epoch in ((None, 1), (owner, 2)):
        with pytest.raises(Violation, match="told to be fenced"):
            check_fenced(known, 7, epoch)
    check_group(owner, 7, "billing")
    for known, group in ((None, "billing"), (owner, "audit")):
        with pytest.raises(Violation, match="answers for"):
            check_group(known, 7, group)
