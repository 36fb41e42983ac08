"""What somebody was told of a change is what the log says became of it.

Told done: since it was asked for, the log has carried it out, with the outcome that was told.
Told failed: it was never carried out, not later either. No answer: it may have been, or may be any
time. As two askings for the same cannot be told apart in the log, they are counted: it is carried
out at most as often as it was asked for and nobody was told that it failed. So what nobody has
asked for is never carried out.

An entry is beyond whatever was applied when its change was asked for: it was made later.
"""

from collections.abc import Hashable
from typing import Final

import msgspec

from chaos.check.violation import Violation

NAME: Final = "told_outcomes"

Change = tuple[Hashable, ...]
"""What is to be done, and what it is done to."""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A change that somebody has asked for."""

    change: Change
    floor: int
    """The last entry that anybody had applied then."""


class ToldOutcomes:
    """The changes of one run, as they were asked for and as the log has them."""

    def __init__(self) -> None:
        self._open: Final[dict[Change, int]] = {}
        """How often each may still be carried out."""
        self._done: Final[dict[Change, list[tuple[int, object]]]] = {}
        """The entries that carried it out, and the outcomes."""

    def asks(self, change: Change, applied: int) -> Asked:
        """Take in that somebody asks for it; ``applied``: the last entry that anybody has."""
        self._open[change] = self._open.get(change, 0) + 1
        return Asked(change, applied)

    def carried_out(self, change: Change, index: int, outcome: object) -> None:
        """Take in that the entry at ``index`` did it.

        Raises:
            Violation: Nobody had asked for it (so often), or was told that it failed.
        """
        self._done.setdefault(change, []).append((index, outcome))
        self._counts_down(change, f"is done at {index}")

    def failed(self, asked: Asked) -> None:
        """Take in that somebody was told that it was not done, and never will be.

        Raises:
            Violation: It was.
        """
        self._counts_down(asked.change, "is told to have failed")

    def _counts_down(self, change: Change, what: str) -> None:
        left = self._open.get(change, 0) - 1
        self._open[change] = left
        if left < 0:
            done = [index for index, _ in self._done.get(change, ())]
            raise Violation(NAME, f"{change} {what}, and was asked for too seldom; done at {done}")

    def told(self, asked: Asked, outcome: object) -> None:
        """Take in that somebody was told that it was done, and how.

        Raises:
            Violation: It was not since it was asked for, or otherwise.
        """
        since = [how for index, how in self._done.get(asked.change, ()) if index > asked.floor]
        if outcome not in since:
            raise Violation(
                NAME,
                f"{asked.change} is told as {outcome!r}; since entry {asked.floor}, when it was "
                f"asked for, the log has {since}",
            )
