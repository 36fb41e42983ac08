"""Log time against hand-made stamps: each sentence of the invariant is broken once."""

import pytest

from chaos.check.log_time import LATE_MS, PATIENCE_MS, SETTLED_MS, LogTime
from chaos.check.violation import Violation

HOUR_MS = 3_600_000


def begun(*, majority_is_right: bool = True) -> LogTime:
    """Return a log whose first stamp was right."""
    log_time = LogTime(majority_is_right=majority_is_right)
    log_time.stamped(5_000, 5_000)
    return log_time


def test_time_that_goes_on_is_fine() -> None:
    log_time = begun()
    assert log_time.stamped(6_000, 6_100) == 1_000
    assert log_time.stamped(6_000, 6_200) == 0


def test_going_back_is_broken_whatever_the_clocks() -> None:
    log_time = begun(majority_is_right=False)
    with pytest.raises(Violation, match="goes back from 5000 to 4999"):
        log_time.stamped(4_999, 9_000)


def test_an_hour_ahead_of_right_clocks_is_broken() -> None:
    with pytest.raises(Violation, match="ahead of the clocks of a majority"):
        begun().stamped(5_000 + HOUR_MS, 6_000)


def test_an_hour_ahead_of_wrong_clocks_is_what_they_say() -> None:
    assert begun(majority_is_right=False).stamped(5_000 + HOUR_MS, 6_000) == HOUR_MS


def test_a_tenth_too_fast_is_allowed_and_a_fifth_is_not() -> None:
    run_ms = 1_000_000
    begun().stamped(5_000 + int(1.1 * run_ms), 5_000 + run_ms)
    with pytest.raises(Violation):
        begun().stamped(5_000 + int(1.2 * run_ms) + LATE_MS, 5_000 + run_ms)


def test_a_log_that_began_an_hour_ahead_goes_on_from_there() -> None:
    """Any beginning is right: nothing was timed yet."""
    log_time = LogTime(majority_is_right=True)
    log_time.stamped(HOUR_MS, 5_000)
    log_time.stamped(HOUR_MS + 1_000, 6_000)
    with pytest.raises(Violation):
        log_time.stamped(2 * HOUR_MS, 7_000)


def test_a_log_that_is_left_behind_is_broken_once_all_is_well() -> None:
    log_time = begun()
    healed_ms = 6_000
    log_time.stamped(6_500, healed_ms + PATIENCE_MS - 1)
    assert not log_time.settled(healed_ms), "too early to say"
    log_time.stamped(6_600, healed_ms + PATIENCE_MS)
    with pytest.raises(Violation, match="7400 ms behind"):
        log_time.settled(healed_ms)


def test_a_log_that_has_caught_up_is_settled() -> None:
    log_time = begun()
    log_time.stamped(20_000 - SETTLED_MS, 20_000)
    assert log_time.settled(20_000 - PATIENCE_MS)


def test_nothing_is_demanded_where_a_majority_is_wrong() -> None:
    log_time = begun(majority_is_right=False)
    log_time.stamped(6_000, 60_000)
    assert not log_time.settled(0)
