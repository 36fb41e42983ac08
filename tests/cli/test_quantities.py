"""Durations and sizes as people write them."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.cli.quantities import (
    read_duration,
    read_retention,
    read_size,
    read_staleness,
    show_elapsed,
    show_retention,
    show_size,
)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("500ms", 500),
        ("10s", 10_000),
        ("5m", 300_000),
        ("72h", 259_200_000),
        ("7d", 604_800_000),
        ("1.5h", 5_400_000),
        (" 3 s ", 3_000),
        ("0s", 0),
    ],
)
def test_a_duration_is_read(text: str, milliseconds: int) -> None:
    """To the millisecond."""
    assert read_duration(text) == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize(
    ("read", "text", "complaint"),
    [
        (read_duration, "60", "is no duration"),
        (read_duration, "", "is no duration"),
        (read_duration, "3 weeks", "is no duration"),
        (read_duration, "5M", "is no duration"),
        (read_duration, "-5m", "is no duration"),
        (read_duration, "1h30m", "is no duration"),
        (read_duration, "٣s", "is no duration"),
        (read_duration, "99999999d", "more than 100 years"),
        (read_staleness, "5", "is no duration"),
        (read_staleness, "25h", "write 0s to 24h"),
        (read_retention, "0s", "keeps nothing"),
        (read_retention, "ever", "is no duration"),
        (read_size, "10 apples", "is no size"),
        (read_size, "1Gi", "is no size"),
        (read_size, "-1", "is no size"),
        (read_size, "0", "out of range"),
        (read_size, "99999999TiB", "out of range"),
    ],
)
def test_what_can_be_read_in_two_ways_is_read_in_none(
    read: Callable[[str], object], text: str, complaint: str
) -> None:
    """The sentence shows how to write it."""
    with pytest.raises(ValueError, match=complaint) as refused:
        read(text)

    assert "write" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1000000", 1_000_000),
        ("5b", 5),
        ("64KiB", 65_536),
        ("10MB", 10_000_000),
        ("1.5GiB", 3 << 29),
        ("2 tib", 2 << 40),
        ("none", 0),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    """Binary and decimal units, as they are written on disks."""
    assert read_size(text) == size


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "forever"),
        (timedelta(hours=72), "72h"),
        (timedelta(days=7), "7d"),
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=5), "5m"),
        (timedelta(milliseconds=1500), "1500ms"),
    ],
)
def test_a_duration_is_shown_in_its_largest_whole_unit(duration: timedelta, text: str) -> None:
    """What is shown is what would be typed."""
    assert show_retention(duration) == text


@given(st.integers(1, 10**12))
def test_a_shown_duration_is_read_as_itself(milliseconds: int) -> None:
    """So it can be copied from ``describe`` to ``alter``."""
    duration = timedelta(milliseconds=milliseconds)

    assert read_retention(show_retention(duration)) == duration
    assert read_retention(show_retention(timedelta(0))) == timedelta(0)


@given(st.integers(1, (1 << 63) - 1))
def test_a_shown_size_is_read_as_itself(size: int) -> None:
    """Likewise."""
    assert read_size(show_size(size)) == size
    assert read_size(show_size(0)) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.0, "0.0s"), (0.44, "0.4s"), (59.9, "59s"), (60, "1m 0s"), (3_661, "1h 1m")),
        *((86_399, "23h 59m"), (90_000, "1d 1h")),
    ],
)
def test_what_has_passed_is_shown_in_two_units(seconds: float, text: str) -> None:
    """Nobody needs the minutes of days."""
    assert show_elapsed(timedelta(seconds=seconds)) == text
