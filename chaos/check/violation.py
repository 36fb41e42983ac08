"""What an invariant raises when it is broken."""

from typing import Final


class Violation(BaseException):
    """A promise of the system was seen broken.

    No code under test may handle it: a replica that stops at any exception of
    its state machine would hide what was seen there under another name.

    Attributes:
        invariant: The name of the invariant's module.
    """

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant: Final = invariant
