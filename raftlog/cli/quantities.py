"""Durations and sizes, as people write them: ``72h``, ``10MiB``.

A number without a unit is refused where it could be read in two ways: ``--retention 60``
would be a minute to one and sixty hours to another. Bytes need no unit.
"""

import re
from datetime import timedelta
from typing import Final

from raftlog.base.limits import ID_WINDOW_MS_MAX, STALENESS_MS_MAX

FOR_EVER: Final = "forever"
NO_BOUND: Final = "none"

_MILLISECONDS: Final = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 24 * 3_600_000,
}
_BYTES: Final = {
    "": 1,
    "b": 1,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_QUANTITY: Final = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_DURATION_MS_MAX: Final = 100 * 365 * _MILLISECONDS["d"]
_SIZE_MAX: Final = (1 << 63) - 1


def read_duration(text: str) -> timedelta:
    """Read ``500ms``, ``10s``, ``5m``, ``72h``, ``7d``, ``1.5h``.

    Raises:
        ValueError: It is none, or longer than 100 years.
    """
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found[2] not in _MILLISECONDS:
        raise ValueError(f"{text!r} is no duration; write one like 500ms, 10s, 5m, 72h or 7d")
    milliseconds = round(float(found[1]) * _MILLISECONDS[found[2]])
    if milliseconds > _DURATION_MS_MAX:
        raise ValueError(f"{text!r} is more than 100 years; write {FOR_EVER}, or less")
    return timedelta(milliseconds=milliseconds)


def read_staleness(text: str) -> timedelta:
    """Read how old what is read may be: a duration of at most 24 h; ``0s`` is not old at all.

    Raises:
        ValueError: It is none.
    """
    duration = read_duration(text)
    if duration > timedelta(milliseconds=STALENESS_MS_MAX):
        raise ValueError(f"a staleness of {text!r} is too long; write 0s to 24h")
    return duration


def read_window(text: str) -> timedelta:
    """Read how long ids are remembered: a duration, or ``none``, which is ``timedelta(0)``.

    Raises:
        ValueError: It is neither, or more than 7 days.
    """
    if text.strip() == NO_BOUND:
        return timedelta(0)
    duration = read_duration(text)
    if duration > timedelta(milliseconds=ID_WINDOW_MS_MAX):
        raise ValueError(f"a window of {text!r} is too long; write 1ms to 7d, or {NO_BOUND}")
    return duration


def read_retention(text: str) -> timedelta:
    """Read how long records are kept: a duration, or ``forever``, which is ``timedelta(0)``.

    Raises:
        ValueError: It is neither, or no time at all.
    """
    if text.strip().lower() == FOR_EVER:
        return timedelta(0)
    duration = read_duration(text)
    if not duration:
        raise ValueError(f"a retention of {text!r} keeps nothing; write {FOR_EVER}, or a duration")
    return duration


def read_size(text: str) -> int:
    """Read a number of bytes: ``1000``, ``64KiB``, ``10MB``, ``1.5GiB``; ``none`` is 0.

    Raises:
        ValueError: It is none of these, or no byte at all.
    """
    if text.strip().lower() == NO_BOUND:
        return 0
    found = _QUANTITY.fullmatch(text.strip())
    unit = None if found is None else _BYTES.get(found[2].lower())
    if found is None or unit is None:
        raise ValueError(
            f"{text!r} is no size; write one like 1000000, 64KiB, 10MB or 1GiB, or {NO_BOUND}"
        )
    size = round(float(found[1]) * unit) if "." in found[1] else int(found[1]) * unit
    if not 1 <= size <= _SIZE_MAX:
        raise ValueError(f"{text!r} is out of range; write 1 to {_SIZE_MAX} bytes, or {NO_BOUND}")
    return size


def show_retention(duration: timedelta | None) -> str:
    """Write a retention as it is read, in its largest whole unit; None is for ever, too."""
    if not duration:
        return FOR_EVER
    milliseconds = round(duration / timedelta(milliseconds=1))
    for unit in ("d", "h", "m", "s"):
        # 72h stays 72h: days are for what is longer than people count in hours.
        least = 4 if unit == "d" else 1
        whole, rest = divmod(milliseconds, _MILLISECONDS[unit])
        if whole >= least and not rest:
            return f"{whole}{unit}"
    return f"{milliseconds}ms"


def show_elapsed(duration: timedelta) -> str:
    """Write how long something took or is ago, for people: its two largest units."""
    seconds = int(duration.total_seconds())
    if seconds < 1:
        return f"{duration.total_seconds():.1f}s"
    for name, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if seconds >= size:
            return f"{seconds // size}{name} {seconds % size // part}{smaller}"
    return f"{seconds // 60}m {seconds % 60}s" if seconds >= 60 else f"{seconds}s"


def show_about(size: int) -> str:
    """Write a size for people: rounded, in the unit that they would choose."""
    for name, unit in (("TiB", "tib"), ("GiB", "gib"), ("MiB", "mib"), ("KiB", "kib")):
        if size >= _BYTES[unit]:
            return f"{size / _BYTES[unit]:.1f} {name}"
    return f"{size} B"


def show_size(size: int | None) -> str:
    """Write a size as it is read, in its largest whole binary unit; None is no bound, too."""
    if not size:
        return NO_BOUND
    for name, unit in (("TiB", "tib"), ("GiB", "gib"), ("MiB", "mib"), ("KiB", "kib")):
        if size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{name}"
    return str(size)
