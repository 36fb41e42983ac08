"""Where to begin, as people write it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftlog.cli.positions import Position, read_position, show_position

PLUS_2 = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("earliest", "earliest"),
        ("Latest", "latest"),
        ("beginning", "earliest"),
        ("end", "latest"),
        ("0", 0),
        (" 1200 ", 1200),
        ("-1h", timedelta(hours=-1)),
        ("-90s", timedelta(seconds=-90)),
        ("-500ms", timedelta(milliseconds=-500)),
        ("2026-11-25T09:00:00Z", datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ("2026-11-25T09:00:00+02:00", datetime(2026, 11, 25, 9, tzinfo=PLUS_2)),
        ("2026-11-25 09:00", datetime(2026, 11, 25, 9).astimezone()),
        ("2026-11-25", datetime(2026, 11, 25).astimezone()),
    ],
)
def test_a_position_is_read(text: str, position: Position) -> None:
    """A moment always has a zone afterwards."""
    found = read_position(text)

    assert found == position
    assert not isinstance(found, datetime) or found.tzinfo is not None


@pytest.mark.parametrize(
    "text",
    ["", "-", "-5", "-1week", "1h", "yesterday", "2026-13-01", "12:00", "1.5", "+5", "٣"],
)
def test_what_is_no_position_is_refused_with_examples(text: str) -> None:
    """All forms in the sentence, or the form that was meant."""
    with pytest.raises(ValueError, match=r"-1h") as refused:
        read_position(text)

    assert repr(text) in str(refused.value)


def test_an_offset_beyond_all_offsets_is_refused() -> None:
    """An offset is an int64 on the wire."""
    assert read_position(str((1 << 63) - 1)) == (1 << 63) - 1
    with pytest.raises(ValueError, match="beyond the highest offset"):
        read_position(str(1 << 63))


@given(st.text())
def test_any_text_is_a_position_or_a_value_error(text: str) -> None:
    """Nothing else comes out."""
    try:
        position = read_position(text)
    except ValueError:
        return
    assert show_position(position)


@pytest.mark.parametrize(
    ("position", "words"),
    [
        ("earliest", "earliest"),
        (7, "offset 7"),
        (timedelta(hours=-1), "1h ago"),
        (datetime(2026, 11, 25, 9, tzinfo=PLUS_2), "2026-11-25T07:00:00Z"),
    ],
)
def test_a_position_has_words(position: Position, words: str) -> None:
    """For a sentence."""
    assert show_position(position) == words
