"""How old a batch is, by clocks that go back, jump, or stand still."""

from typing import Final

import pytest

from raftlog.spool.ages import Ages, run_s
from raftlog.spool.contents import Attempt

DAY_MS: Final = 24 * 3600 * 1000
NOW_MS: Final = 1_800_000_000_000


class Clocks:
    """The machine's clock, and the time that really runs."""

    def __init__(self) -> None:
        self.shown_ms = NOW_MS
        self.run_s = 1_000.0

    def now_ms(self) -> int:
        """Return what the clock shows."""
        return self.shown_ms

    def pass_days(self, days: float, *, shown: float | None = None) -> None:
        """Let time run; the clock shows another, if somebody sets it meanwhile."""
        self.run_s += days * DAY_MS / 1000
        self.shown_ms += int((days if shown is None else shown) * DAY_MS)


@pytest.fixture
def clocks() -> Clocks:
    """Both, and right."""
    return Clocks()


def ages(clocks: Clocks, noted_ms: int = 0) -> Ages:
    """Open a spool's ages, now."""
    return Ages(clocks.now_ms, noted_ms, lambda: clocks.run_s)


def written(clocks: Clocks) -> Attempt:
    """Return a batch that is written down now."""
    return Attempt(3, 8, 0, "orders", 0, clocks.shown_ms, (1, 2))


def test_a_batch_of_this_process_is_as_old_as_the_time_that_ran(clocks: Clocks) -> None:
    """A clock that was put back makes it no younger, and does not stop it either."""
    mine = ages(clocks)
    attempt = written(clocks)
    mine.begin(attempt)
    clocks.pass_days(1)
    assert mine.of(attempt) == DAY_MS
    clocks.pass_days(1, shown=-30)
    assert mine.of(attempt) == 2 * DAY_MS
    clocks.pass_days(0, shown=100)  # more than ran: the machine may have stood still
    assert mine.of(attempt) == 71 * DAY_MS


def test_a_clock_that_is_set_makes_a_batch_of_this_process_no_older(clocks: Clocks) -> None:
    """It was written down in 1970, a minute ago."""
    clocks.shown_ms = 60_000
    mine = ages(clocks)
    attempt = written(clocks)
    mine.begin(attempt)
    clocks.pass_days(0.5, shown=20_000)
    assert mine.of(attempt) == DAY_MS // 2


def test_a_batch_that_was_found_has_no_age_while_the_clock_is_behind(clocks: Clocks) -> None:
    """It has one when the clock is right."""
    attempt = written(clocks)
    clocks.pass_days(8, shown=-400)
    mine = ages(clocks, attempt.made_ms)
    assert mine.of(attempt) is None
    clocks.pass_days(0, shown=408)
    assert mine.of(attempt) == 8 * DAY_MS


def test_a_clock_behind_the_spool_s_own_notes_tells_nothing(clocks: Clocks) -> None:
    """It is after the batch, but three days before the last record that was spooled."""
    attempt = written(clocks)
    clocks.pass_days(10, shown=0.1)
    assert ages(clocks, NOW_MS + 3 * DAY_MS).of(attempt) is None
    assert ages(clocks, NOW_MS).of(attempt) == DAY_MS // 10


def test_a_clock_that_nobody_has_set_tells_nothing(clocks: Clocks) -> None:
    """A machine that begins in 1970 each time seems to have been away for a minute only."""
    clocks.shown_ms = 60_000
    attempt = written(clocks)
    clocks.pass_days(8, shown=0.001)
    assert ages(clocks, attempt.made_ms).of(attempt) is None


def test_put_back_while_the_spool_is_open_it_makes_nothing_younger(clocks: Clocks) -> None:
    """Also what an earlier process has left."""
    attempt = written(clocks)
    clocks.pass_days(4)
    mine = ages(clocks, attempt.made_ms)
    clocks.pass_days(4, shown=-3)
    assert mine.of(attempt) == 8 * DAY_MS


def test_the_time_that_runs_does_run() -> None:
    """Nobody can put it back."""
    assert run_s() <= run_s()
