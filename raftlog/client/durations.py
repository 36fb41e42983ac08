"""Durations and moments as users give them: seconds or ``timedelta``, aware ``datetime``."""

from datetime import UTC, datetime, timedelta
from typing import Final

Duration = timedelta | float
"""Seconds, or a timedelta."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def seconds(duration: Duration) -> float:
    """Return a duration in seconds.

    Raises:
        ValueError: It is negative.
        TypeError: It is a text, as on a command line.
    """
    try:
        value = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    except ValueError:
        raise TypeError(f"a duration is seconds or a timedelta, not {duration!r}") from None
    if value < 0:
        raise ValueError(f"a duration of {value:g} s; give 0 or more")
    return value


def unix_ms(moment: datetime) -> int:
    """Return milliseconds since 1970.

    Raises:
        ValueError: The datetime has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; write datetime(..., tzinfo=UTC)")
    return (moment - _EPOCH) // _MS
