"""Where to begin in a queue, as people write it.

::

    earliest  latest         the queue's start, its end
    1200                     an offset
    -1h  -30m  -7d           so long ago
    2026-11-25T09:00:00Z     a moment; without a zone it is local time
    2026-11-25               its first moment, local time

Moments are log time: when a record was stored, not when its producer says that
it was made.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from raftlog.cli.quantities import read_duration, show_retention

EARLIEST: Final = "earliest"
LATEST: Final = "latest"
_OFFSET_MAX: Final = (1 << 63) - 1

Position = Literal["earliest", "latest"] | int | datetime | timedelta
"""As the SDK takes it; a ``timedelta`` is negative, a ``datetime`` has a zone."""


def read_position(text: str) -> Position:
    """Read a position.

    Raises:
        ValueError: It is none.
    """
    text = text.strip()
    match text.lower():
        case "earliest" | "beginning":
            return EARLIEST
        case "latest" | "end":
            return LATEST
        case _ if text.isascii() and text.isdecimal():
            return _offset(text)
        case _ if text.startswith("-"):
            return _ago(text)
        case _:
            return _moment(text)


def show_position(position: Position) -> str:
    """Write a position in words, for a sentence."""
    match position:
        case int():
            return f"offset {position}"
        case str():
            return position
        case datetime():
            return position.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case timedelta():
            return f"{show_retention(-position)} ago" if position else "now"


def _offset(text: str) -> int:
    offset = int(text)
    if offset > _OFFSET_MAX:
        raise ValueError(f"{text} is beyond the highest offset, {_OFFSET_MAX}")
    return offset


def _ago(text: str) -> timedelta:
    try:
        return -read_duration(text[1:])
    except ValueError:
        raise ValueError(f"{text!r} is no time ago; write one like -30s, -5m, -1h, -7d") from None


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no position; write earliest, latest, an offset, a time ago like -1h, "
            "or a moment like 2026-11-25T09:00:00Z"
        ) from None
