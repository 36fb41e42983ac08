"""Quotas are what the log made of them, and who looks sees them as they are.

Told in the order of the log. A look is linearizable: it shows the quotas as they were at one
moment between the question and the answer.
"""

from collections.abc import Mapping
from typing import Final

from chaos.check.violation import Violation

NAME: Final = "quotas_kept"

Key = tuple[str, str]
"""Kind and name."""
Bounds = tuple[int, int]
"""Bytes and records a second; 0: no bound."""


class Quotas:
    """All quotas, after each change."""

    def __init__(self) -> None:
        self._versions: list[dict[Key, Bounds]] = [{}]

    @property
    def version(self) -> int:
        """How often they have changed."""
        return len(self._versions) - 1

    @property
    def now(self) -> Mapping[Key, Bounds]:
        """Those that there are."""
        return self._versions[-1]

    def is_set(self, key: Key, bounds: Bounds) -> None:
        """Take in that a quota is set."""
        self._versions.append({**self.now, key: bounds})

    def is_gone(self, key: Key) -> bool:
        """Take in that there is none (any more); return whether there was one."""
        if key not in self.now:
            return False
        self._versions.append({each: bounds for each, bounds in self.now.items() if each != key})
        return True

    def seen(self, since: int, found: Mapping[Key, Bounds]) -> None:
        """Check what somebody was told who asked at version ``since``.

        Raises:
            Violation: It never was so since then.
        """
        if found not in self._versions[since:]:
            raise Violation(NAME, f"{dict(found)} was told; since the question it was never so")
