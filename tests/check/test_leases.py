"""The invariants of queue-style groups see what they are for."""

import pytest

from chaos.check.attempts_counted import check_attempts, check_used_up
from chaos.check.held_by_flight import check_kept
from chaos.check.key_order import check_order
from chaos.check.lease_model import LeasedGroup, LeasedMessage, Poison, Standing
from chaos.check.one_lease import check_again, check_lease, check_settled, check_stale
from chaos.check.one_place import (
    check_acked,
    check_counts,
    check_given,
    check_letter,
    check_not_ended,
    check_rows,
    undone,
)
from chaos.check.violation import Violation

PLACE = (3, 7)
HANDLE, OTHER = 11, 12


def group(
    standing: Standing | None = None,
    *,
    attempts: int = 1,
    due_ms: int = 100,
    poison: Poison = Poison.LETTER,
    fifo: bool = True,
) -> LeasedGroup:
    """A group of two attempts, with one message or none."""
    message = None if standing is None else LeasedMessage(standing, HANDLE, attempts, due_ms)
    messages = {} if message is None else {PLACE: message}
    return LeasedGroup(1, 2, (0,), poison, fifo, ("jobs",), messages=messages)


@pytest.mark.parametrize(
    ("standing", "now_ms", "why"),
    [
        (None, 0, None),
        (Standing.LEASED, 99, "beside"),
        (Standing.LEASED, 100, None),
        (Standing.WAITING, 99, "is leased at 99"),
        (Standing.WAITING, 100, None),
        (Standing.DEAD, 100, "DEAD"),
        (Standing.BLOCKED, 100, "BLOCKED"),
    ],
)
def test_a_lease_is_alone(standing: Standing | None, now_ms: int, why: str | None) -> None:
    """Until its time, and no message is leased before its wait is over."""

    def check() -> None:
        check_lease(group(standing), PLACE, OTHER, is_there=True, now_ms=now_ms, expiry_ms=now_ms)

    if why is None:
        check()
    else:
        with pytest.raises(Violation, match=why):
            check()


def test_a_lease_that_a_new_leader_holds_has_not_ended() -> None:
    """Its time has come; none ends yet."""
    with pytest.raises(Violation, match="beside"):
        check_lease(group(Standing.LEASED), PLACE, OTHER, is_there=True, now_ms=200, expiry_ms=50)
    with pytest.raises(Violation, match="it is forgotten"):
        check_lease(group(), PLACE, OTHER, is_there=False, now_ms=0, expiry_ms=0)


@pytest.mark.parametrize(
    ("standing", "handle", "again", "is_seen"),
    [
        (Standing.LEASED, HANDLE, False, False),
        (Standing.LEASED, OTHER, False, True),
        (Standing.WAITING, HANDLE, False, True),
        (Standing.WAITING, HANDLE, True, False),
        (Standing.WAITING, OTHER, True, True),
        (Standing.ACKED, OTHER, False, False),
        (None, HANDLE, False, True),
    ],
)
def test_who_settles_a_message_has_it(
    *, standing: Standing | None, handle: int, again: bool, is_seen: bool
) -> None:
    """Or it is ended, or he says once more what he said."""
    found = group(standing)
    if standing is Standing.WAITING:
        found.messages[PLACE].given_back_by = HANDLE

    def check() -> None:
        check_settled(found, PLACE, handle, "acked", again=again, expiry_ms=0)

    if is_seen:
        with pytest.raises(Violation, match="is acked by"):
            check()
    else:
        check()


def test_nobody_is_told_to_have_lost_what_he_has() -> None:
    """Before its time; of what is forgotten anything may be said."""
    held = group(Standing.LEASED)
    with pytest.raises(Violation, match="is told to have lost"):
        check_stale(held, PLACE, HANDLE, is_there=True, expiry_ms=99)
    check_stale(held, PLACE, HANDLE, is_there=True, expiry_ms=100)
    check_stale(held, PLACE, OTHER, is_there=True, expiry_ms=0)
    check_stale(held, PLACE, HANDLE, is_there=False, expiry_ms=0)


def test_who_asks_again_gets_what_he_has() -> None:
    """Neither more nor less."""
    check_again(HANDLE, {PLACE}, {PLACE})
    check_again(HANDLE, set(), {PLACE})
    for got in (set(), {PLACE, (3, 8)}):
        with pytest.raises(Violation, match="asks again"):
            check_again(HANDLE, {PLACE}, got)


def test_who_finished_a_message_is_not_told_that_he_has_lost_it() -> None:
    """He asks again, as the answer was lost."""
    done = group(Standing.ACKED)
    with pytest.raises(Violation, match="is told to have lost"):
        check_stale(done, PLACE, HANDLE, is_there=True, expiry_ms=0, is_ack=True)
    check_stale(done, PLACE, HANDLE, is_there=True, expiry_ms=0)
    check_stale(done, PLACE, OTHER, is_there=True, expiry_ms=0, is_ack=True)


@pytest.mark.parametrize(
    ("standing", "attempts", "now_ms", "poison", "is_needed"),
    [
        (Standing.LEASED, 1, 99, Poison.LETTER, True),
        (Standing.LEASED, 1, 149, Poison.LETTER, True),
        (Standing.LEASED, 1, 150, Poison.LETTER, False),
        (Standing.LEASED, 2, 150, Poison.LETTER, True),
        (Standing.LEASED, 2, 150, Poison.SKIP, False),
        (Standing.WAITING, 1, 149, Poison.LETTER, True),
        (Standing.WAITING, 1, 150, Poison.LETTER, False),
        (Standing.DEAD, 2, 999, Poison.LETTER, True),
        (Standing.ACKED, 1, 0, Poison.LETTER, False),
    ],
)
def test_retention_leaves_what_is_needed(
    *, standing: Standing, attempts: int, now_ms: int, poison: Poison, is_needed: bool
) -> None:
    """What is leased, waits, or is dead; what lies behind the new start is no matter."""
    found = group(standing, attempts=attempts, poison=poison)
    moments = {"kept_ms": 50, "now_ms": now_ms, "expiry_ms": now_ms}
    if is_needed:
        with pytest.raises(Violation, match="queue 3 begins at 8"):
            check_kept(found, 3, 8, **moments)
    else:
        check_kept(found, 3, 8, **moments)
    check_kept(found, 3, 7, **moments)
    check_kept(found, 4, 8, **moments)


@pytest.mark.parametrize(
    ("before", "attempts", "why"),
    [
        (None, 1, None),
        (None, 2, "for the 2. time, after None"),
        (1, 2, None),
        (1, 1, "for the 1. time"),
        (2, 3, "of 2"),
        (0, 1, None),
    ],
)
def test_attempts_are_counted(before: int | None, attempts: int, why: str | None) -> None:
    """From one, without a gap, and not beyond what the group allows."""
    found = group() if before is None else group(Standing.WAITING, attempts=before)
    if why is None:
        check_attempts(found, PLACE, attempts)
    else:
        with pytest.raises(Violation, match=why):
            check_attempts(found, PLACE, attempts)


def test_a_letter_is_made_of_what_is_used_up() -> None:
    """Its last lease has ended."""
    check_used_up(group(Standing.LEASED, attempts=2), PLACE, 100)
    for attempts, expiry_ms in ((1, 100), (2, 99)):
        with pytest.raises(Violation, match="not used up"):
            check_used_up(group(Standing.LEASED, attempts=attempts), PLACE, expiry_ms)


def test_what_is_ended_stays_ended() -> None:
    """It is not leased again, nor made a letter; nor in flight on any replica."""
    for standing in (Standing.ACKED, Standing.LETTER, Standing.SKIPPED):
        with pytest.raises(Violation, match="is leased after it was"):
            check_not_ended(group(standing), PLACE, "leased")
        with pytest.raises(Violation, match="n1 has"):
            check_rows("n1", {PLACE}, group(standing))
    check_not_ended(group(Standing.WAITING), PLACE, "leased")
    check_rows("n1", {PLACE}, group(Standing.WAITING))


def test_an_ack_that_was_told_is_true() -> None:
    """Also if the message is ended otherwise, or forgotten."""
    with pytest.raises(Violation, match="is acked and is"):
        check_acked(group(Standing.WAITING), PLACE, is_there=True, expiry_ms=0)
    check_acked(group(Standing.WAITING), PLACE, is_there=False, expiry_ms=0)
    check_acked(group(Standing.ACKED), PLACE, is_there=True, expiry_ms=0)
    passed_over = group(Standing.LEASED, attempts=2, poison=Poison.SKIP)
    check_acked(passed_over, PLACE, is_there=True, expiry_ms=100)


def test_what_is_known_to_be_finished_is_given_to_nobody() -> None:
    """Who has asked before may get it late; he will be told so when he settles it."""
    check_given(PLACE, None, 9)
    check_given(PLACE, 3, 3)
    with pytest.raises(Violation, match="asked after it was finished"):
        check_given(PLACE, 2, 3)


def test_what_is_not_ended_is_told() -> None:
    """What was never leased, too."""
    assert undone(group(Standing.ACKED), [PLACE, (3, 8)], 0) == [(3, 8)]
    assert undone(group(Standing.LEASED), [PLACE], 1_000) == [PLACE]


def test_letters_are_what_was_sent_and_as_many_as_are_counted() -> None:
    """One each."""
    check_letter(PLACE, b"a", b"a")
    with pytest.raises(Violation, match="the letter of"):
        check_letter(PLACE, b"a", b"b")
    check_counts("n1", "work", 1, group(Standing.LETTER))
    with pytest.raises(Violation, match="2 dead letters of work; there are 1"):
        check_counts("n1", "work", 2, group(Standing.LETTER))


def test_a_key_is_in_order() -> None:
    """What comes before is ended; without order, or of another key, it need not be."""
    later = (3, 9)
    for standing in (Standing.LEASED, Standing.WAITING, Standing.DEAD, Standing.BLOCKED):
        with pytest.raises(Violation, match="7 of its key is"):
            check_order(group(standing), later, [7, 9], 0)
        check_order(group(standing, fifo=False), later, [7, 9], 0)
    check_order(group(Standing.LETTER), later, [7, 9], 0)
    check_order(group(Standing.WAITING), later, [9, 10], 0)
    with pytest.raises(Violation, match="8 of its key is None"):
        check_order(group(Standing.ACKED), later, [7, 8], 0)
