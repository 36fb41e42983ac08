"""How old a batch is, by clocks that go back, jump, or stand still."""

from typing import Final

import pytest

from raftlog.client import ages as module
from raftlog.client.ages import DECIDED_MS_MAX, Ages, Doubt, Moment, Sent, run_s
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


def test_a_clock_of_another_machine_may_be_behind_a_little(clocks: Clocks) -> None:
    """Two machines' clocks are never the same."""
    batch = written(clocks)
    clocks.pass_days(1 / 24, shown=-1 / 48)
    assert Ages(clocks.now_ms, back_ms=DAY_MS // 24).of(batch) is not None
    assert Ages(clocks.now_ms, back_ms=DAY_MS // 96).of(batch) is None


@pytest.mark.parametrize(
    ("sequence", "next_sequence", "idle_days", "days", "doubt"),
    [
        (3, 3, 0, 400, None),  # what was before it is known
        (3, 0, 0, 0, Doubt.FORGOTTEN),  # .. is not, and was known: no clock is asked
        (3, 0, 1, 0, None),  # .. was perhaps forgotten before
        (3, 0, 1, 6, Doubt.FORGOTTEN),
        (0, 0, 0, 4, None),  # the first one: its age tells
        (0, 0, 0, 6, Doubt.FORGOTTEN),
        (0, 0, 0, -1, Doubt.UNDATED),
    ],
)
def test_what_a_fence_has_not_found_is_judged(
    sequence: int, next_sequence: int, idle_days: int, days: int, doubt: Doubt | None
) -> None:
    """By what the queue still knows, then by the clock."""
    clocks = Clocks()
    batch = Attempt(3, 8, sequence, "orders", 0, clocks.shown_ms, (1, 2), idle_days)
    clocks.pass_days(days)
    assert ages(clocks).doubt(batch, next_sequence) is doubt


def test_a_batch_may_be_sent_while_its_queue_knows_it_for_certain(clocks: Clocks) -> None:
    """The time that ran counts, also that in which nobody has sent."""
    mine, batch = ages(clocks), written(clocks)
    mine.begin(batch)
    clocks.pass_days(DECIDED_MS_MAX / DAY_MS, shown=0)
    assert mine.may_be_sent(batch)
    clocks.pass_days(0.01, shown=0)
    assert not mine.may_be_sent(batch)


def test_the_time_that_runs_does_run() -> None:
    """Nobody can put it back."""
    assert run_s() <= run_s()


def test_what_nobody_writes_down_is_as_old_as_the_time_that_ran(clocks: Clocks) -> None:
    """Or as the clock shows, if that is more and had been set."""
    sent = Moment(clocks.shown_ms, clocks.run_s)
    unset = Moment(60_000, clocks.run_s)
    clocks.pass_days(1, shown=-30)
    now = Moment(clocks.shown_ms, clocks.run_s)
    assert (sent.age_ms(now), unset.age_ms(now)) == (DAY_MS, DAY_MS)
    clocks.pass_days(0, shown=100)
    now = Moment(clocks.shown_ms, clocks.run_s)
    assert (sent.age_ms(now), unset.age_ms(now)) == (70 * DAY_MS, DAY_MS)


@pytest.mark.parametrize(
    ("stored_through", "next_sequence", "idle_days", "days", "may_be"),
    [
        (3, 3, 0, 400, False),
        (0, 3, 0, 400, False),  # it knows of batches before this one, of which nothing was heard
        (3, 0, 0, 0, True),
        (3, 0, 1, 0, False),
        (3, 0, 1, 6, True),
        (0, 0, 0, 4, False),
        (0, 0, 0, 6, True),
    ],
)
def test_it_is_judged_by_the_same_rule(
    stored_through: int,
    next_sequence: int,
    idle_days: int,
    days: int,
    *,
    may_be: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By what the queue still knows, then by the time that ran."""
    clocks = Clocks()
    monkeypatch.setattr(module, "this_moment", lambda: Moment(clocks.shown_ms, clocks.run_s))
    last = Sent.now(None)
    clocks.pass_days(idle_days)
    sent = Sent.now(last)
    assert sent.idle_days == idle_days
    clocks.pass_days(days)
    assert sent.may_be_stored(stored_through, next_sequence) is may_be
    assert sent.may_be_sent is (days < 5)
