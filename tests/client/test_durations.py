"""Durations as users give them."""

import math
from datetime import timedelta

import pytest

from raftlog.client.durations import Duration, seconds


@pytest.mark.parametrize(
    ("given", "expected"),
    [(0, 0.0), (1.5, 1.5), (timedelta(minutes=2), 120.0), (math.inf, math.inf)],
)
def test_seconds_and_timedeltas_are_understood(given: Duration, expected: float) -> None:
    """Zero and for ever, too."""
    assert seconds(given) == expected


@pytest.mark.parametrize("given", [-1, -0.001, timedelta(seconds=-1), math.nan])
def test_what_no_clock_can_count_is_refused(given: Duration) -> None:
    """No number, above all: compared with it, the timers of a loop are in no order any more."""
    with pytest.raises(ValueError, match="a duration of"):
        seconds(given)
