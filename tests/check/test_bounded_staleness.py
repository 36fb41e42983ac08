"""Reads with a bound: how old an answer may be, and that none is refused for being old."""

import pytest

from chaos.check.bounded_staleness import BoundedStaleness
from chaos.check.violation import Violation

QUEUE = 7


@pytest.fixture
def seen() -> BoundedStaleness:
    """The end of a queue is known as 3 from moment 10 on, as 5 from 20 on."""
    made = BoundedStaleness()
    made.sees(QUEUE, 3, 10)
    made.sees(QUEUE, 5, 20)
    made.sees(QUEUE, 4, 30)  # a receipt that came late
    return made


@pytest.mark.parametrize(("moment", "end"), [(9, 0), (10, 3), (19, 3), (20, 5), (99, 5)])
def test_what_was_known_at_a_moment(seen: BoundedStaleness, moment: int, end: int) -> None:
    """The highest end of any receipt until then; of another queue, nothing."""
    assert seen.floor(QUEUE, moment) == end
    assert seen.floor(QUEUE + 1, moment) == 0


def test_an_answer_may_be_as_old_as_its_bound_and_no_older(seen: BoundedStaleness) -> None:
    """A read asked at 25 with a bound of 10 knows what was known at 15."""
    floor = seen.floor(QUEUE, 25 - 10)
    seen.answered(QUEUE, floor, 3)
    with pytest.raises(Violation, match="knows its end as 2, not 3"):
        seen.answered(QUEUE, floor, 2)


def test_a_refusal_knows_everything_that_was_known_when_it_was_asked_for(
    seen: BoundedStaleness,
) -> None:
    """Whatever the bound."""
    known = seen.floor(QUEUE, 25)
    seen.refused(QUEUE, known, 5)
    with pytest.raises(Violation, match="refused by an end of 3, not 5"):
        seen.refused(QUEUE, known, 3)
