"""Durations and moments as users give them: seconds or ``timedelta``, aware ``datetime``."""

from datetime import UTC, datetime, timedelta
from typing import Final

from raftlog.base.limits import STALENESS_MS_MAX

Duration = timedelta | float
"""Seconds, or a timedelta."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def seconds(duration: Duration) -> float:
    """Return a duration in seconds.

    Raises:
        ValueError: It is negative, or not a number.
        TypeError: It is a text, as on a command line.
    """
    try:
        value = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    except ValueError:
        raise TypeError(f"a duration is seconds or a timedelta, not {duration!r}") from None
    if not value >= 0:  # nor is "not a number"
        raise ValueError(f"a duration of {value:g} s; give 0 or more")
    return value


def staleness_seconds(bound: Duration | None) -> float | None:
    """Return how old what is read may be; None is no question of age: the leader is asked.

    Raises:
        ValueError: It is negative, or more than a day.
        TypeError: It is a text.
    """
    if bound is None:
        return None
    value = seconds(bound)
    if not value * 1000 <= STALENESS_MS_MAX:
        raise ValueError(f"a staleness of {value:g} s; it is 0 s (nothing is missing) to 24 h")
    return value


def unix_ms(moment: datetime) -> int:
    """Return milliseconds since 1970.

    Raises:
        ValueError: The datetime has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; write datetime(..., tzinfo=UTC)")
    return (moment - _EPOCH) // _MS


def moment_of(unix_ms: int) -> datetime:
    """Return the moment that is so many milliseconds after the beginning of 1970, in UTC."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC)
