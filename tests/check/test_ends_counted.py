"""How messages ended, against what a group counts: on histories made by hand."""

import pytest

from chaos.check.ends_counted import Counts, Ends, check_sum, check_told, ends_of
from chaos.check.lease_model import LeasedGroup, LeasedMessage, Poison, Standing
from chaos.check.violation import Violation


def message(standing: Standing, *, attempts: int = 1, unsure: bool = False) -> LeasedMessage:
    """A message of handle 1 whose lease or wait ends at 100."""
    return LeasedMessage(standing, 1, attempts, 100, unsure=unsure)


def group(poison: Poison, *messages: LeasedMessage) -> LeasedGroup:
    """A group of two attempts with these messages."""
    places = {(3, at): each for at, each in enumerate(messages)}
    return LeasedGroup(1, 2, (0,), poison, False, ("jobs",), messages=places)


def test_each_message_ends_in_one_way() -> None:
    """What is not ended is counted nowhere."""
    found = group(
        Poison.SKIP,
        *(message(Standing.ACKED), message(Standing.ACKED), message(Standing.LETTER)),
        *(message(Standing.SKIPPED), message(Standing.SKIPPED, unsure=True)),
        *(message(Standing.WAITING), message(Standing.LEASED), message(Standing.BLOCKED)),
    )
    assert ends_of(found, 500) == Ends(acked=2, letters=1, skipped=1, unsure=1)


def test_a_last_lease_that_ended_is_skipped_where_that_is_the_policy() -> None:
    """No command says so."""
    last = message(Standing.LEASED, attempts=2)
    assert ends_of(group(Poison.SKIP, last), 100).skipped == 1
    assert ends_of(group(Poison.SKIP, last), 99).skipped == 0
    assert ends_of(group(Poison.LETTER, last), 100).skipped == 0


@pytest.mark.parametrize(
    ("skipped", "letters", "says"),
    [
        *((2, 1, None), (3, 1, None), (4, 1, None), (2, 2, None)),
        *((1, 1, "skipped 1"), (5, 1, "skipped 5")),
        *((2, 0, "0 letters"), (2, 4, "4 letters")),
    ],
)
def test_what_is_told_was_or_is_so(skipped: int, letters: int, says: str | None) -> None:
    """Not less than when it was asked, not more than now; of one nobody can tell."""
    counts = Counts(letters, skipped, 0)
    before, now = Ends(0, 1, 2, 0), Ends(9, 2, 3, 1)
    if says is None:
        check_told("n1", "work", counts, before, now)
        return
    with pytest.raises(Violation, match=says):
        check_told("n1", "work", counts, before, now)


def test_all_together_is_what_was_passed() -> None:
    """With room for those of which nobody can tell."""
    counts = Counts(letters=1, skipped=2, expired=3, in_flight=4)
    for passed in (19, 20):
        check_sum("n1", "work", passed, counts, Ends(acked=9, unsure=1))
    for passed in (18, 21):
        with pytest.raises(Violation, match=f"passed {passed}"):
            check_sum("n1", "work", passed, counts, Ends(acked=9, unsure=1))


def test_what_a_seek_takes_back_ended_all_the_same() -> None:
    """And is passed once more; of what may have been skipped nobody can tell."""
    found = group(
        Poison.SKIP,
        *(message(Standing.ACKED), message(Standing.ACKED), message(Standing.LETTER)),
        *(message(Standing.SKIPPED), message(Standing.SKIPPED, unsure=True)),
        *(message(Standing.WAITING), message(Standing.LEASED, attempts=2)),
    )
    assert found.sought(3, 7, 1, 500) == 4
    assert ends_of(found, 500) == Ends(acked=2, letters=1, skipped=1, unsure=2)
    assert found.messages.keys() == {(3, 0)}
    assert found.past.back == 6


def test_what_a_seek_goes_over_is_done_until_another_one_goes_back() -> None:
    found = group(Poison.LETTER, message(Standing.ACKED))

    def done(*offsets: int) -> list[bool]:
        return [found.is_done((3, offset), 0) for offset in offsets]

    found.sought(3, 1, 9, 0)
    assert done(0, 1, 8, 9) == [True, True, True, False]
    found.sought(3, 9, 4, 0)
    assert done(1, 3, 4, 8) == [True, True, False, False]
    found.sought(3, 4, 4, 0)
    found.sought(3, 6, 8, 0)  # 4 and 5 were leased since
    assert done(3, 4, 6, 7, 8) == [True, False, True, True, False]
    assert found.past.back == -8 + 5 - 2
