"""Seeds that found something, each with the commit that it was found in, and a test that stays."""

from pathlib import Path
from typing import Final

import msgspec

FOUND: Final = Path(__file__).parent / "found.txt"
_PARTS: Final = 5


class Finding(msgspec.Struct, frozen=True):
    """One line of ``found.txt``."""

    seed: int
    commit: str
    """The last one in which this seed fails: the parent of the fix."""
    invariant: str
    """What is broken there."""
    test: str
    """File and name of the unit test that shows the bug without a seed."""
    what: str


def read_findings(text: str) -> list[Finding]:
    """Parse ``found.txt``: ``seed | commit | invariant | test | what``; ``#`` begins a comment.

    Raises:
        ValueError: A line has another shape.
    """
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("|", _PARTS - 1)]
        if len(parts) != _PARTS or not all(parts):
            raise ValueError(f"line {number} of found.txt is not {_PARTS} parts: {line!r}")
        seed, commit, invariant, test, what = parts
        found.append(Finding(int(seed), commit, invariant, test, what))
    return found


def known_findings() -> list[Finding]:
    """Return what was found so far."""
    return read_findings(FOUND.read_text())
