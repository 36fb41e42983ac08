"""Iterators that ask one bounded question after the other: searches, walks through the log."""

from collections import deque
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Stepping(Generic[T]):
    """Iterates over what the answers brought, in their order. Bound to its loop.

    Nothing goes on between two questions, so there is nothing to close: who wants no more stops
    asking.
    """

    def __init__(self) -> None:
        self._found: deque[T] = deque()

    def __aiter__(self) -> Self:
        """Iterate over what is found."""
        return self

    async def __anext__(self) -> T:
        """Return the next one.

        Raises:
            StopAsyncIteration: There is no other.
            Unavailable: No leader within the timeout, or it can't read its log now. Asked again,
                it goes on where it was. What else it may be, the class says.
        """
        while not self._found:
            if not await self._advance():
                raise StopAsyncIteration
        return self._found.popleft()

    async def step(self) -> list[T] | None:
        """Ask one question: return what it found, perhaps nothing; None: all was looked at.

        Raises: as ``__anext__``.
        """
        if not self._found and not await self._advance():
            return None
        found = list(self._found)
        self._found.clear()
        return found

    async def _advance(self) -> bool:
        """Ask one question; False if there is none left."""
        raise NotImplementedError
