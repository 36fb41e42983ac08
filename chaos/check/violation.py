"""What an invariant raises when it is broken."""

from typing import Final


class Violation(Exception):
    """A promise of the system was seen broken.

    Attributes:
        invariant: The name of the invariant's module.
    """

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant: Final = invariant
