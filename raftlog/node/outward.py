"""Calls that lead out of a replica: to who waits for an outcome or a read, to who listens.

They come in the middle of a step's effects, so one that raises must not cut the
step short: what was decided would be half done, and a replica that goes on
without having applied, or written, what it believes to have would hang for ever
without a word. The bug is its caller's, in this process. It is treated as any
bug of ours: the others are still told, then the replica stops (style 11, 13).
"""

import traceback
from collections.abc import Callable
from typing import TypeVarTuple

Arguments = TypeVarTuple("Arguments")


class Outward:
    """Calls callbacks that may have bugs; ``on_raised`` hears of each one that raised."""

    def __init__(self, on_raised: Callable[[Exception], None]) -> None:
        self._on_raised = on_raised

    def call(self, callback: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Call ``callback``. Never raises."""
        try:
            callback(*arguments)
        except Exception:  # noqa: BLE001  (whatever it is, the replica stops and says so)
            self.raised()

    def raised(self) -> None:
        """Report the exception that is being handled: for who calls back very often by itself."""
        self._on_raised(AssertionError(f"a callback raised\n{traceback.format_exc()}"))
