"""What objects do when their operations come one by one: models for ``linearizability``."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from chaos.check.linearizability import Operation


class Read(msgspec.Struct, frozen=True):
    """Return the value of the register; None if it was never written."""


class Write(msgspec.Struct, frozen=True):
    """Set the register."""

    value: int


class CompareAndSet(msgspec.Struct, frozen=True):
    """Set the register if it holds ``expected``; return whether it did."""

    expected: int
    value: int


RegisterInput = Read | Write | CompareAndSet


class Register:
    """One value that can be read, written, and changed on condition."""

    initial: int | None = None

    def parts(
        self, history: Sequence[Operation[RegisterInput]]
    ) -> Iterable[Sequence[Operation[RegisterInput]]]:
        """One register is one part."""
        return [history]

    def apply(
        self, state: int | None, operation: Operation[RegisterInput]
    ) -> tuple[int | None] | None:
        """Return the value after ``operation``, or None if it did not go so."""
        match operation.does:
            case Read():
                return (state,) if operation.output == state else None
            case Write(value):
                return (value,)
            case CompareAndSet(expected, value):
                succeeds = state == expected
                if operation.returned is not None and operation.output != succeeds:
                    return None
                if operation.returned is None and not succeeds:
                    return None  # without effect, it is as if it had not been
                return (value,) if succeeds else (state,)

    def only_reads(self, operation: Operation[RegisterInput]) -> bool:
        """Whether it is a read."""
        return isinstance(operation.does, Read)


class Get(msgspec.Struct, frozen=True):
    """Return the text of ``key``; empty if nothing was put there."""

    key: str


class Put(msgspec.Struct, frozen=True):
    """Replace the text of ``key``."""

    key: str
    text: str


class Append(msgspec.Struct, frozen=True):
    """Add to the text of ``key``."""

    key: str
    text: str


TextsInput = Get | Put | Append


class Texts:
    """Texts by key. Keys have nothing to do with each other, so each is a part."""

    initial: str = ""

    def parts(
        self, history: Sequence[Operation[TextsInput]]
    ) -> Iterable[Sequence[Operation[TextsInput]]]:
        """Split by key."""
        return by_key((operation.does.key, operation) for operation in history)

    def apply(self, state: str, operation: Operation[TextsInput]) -> tuple[str] | None:
        """Return the text of the one key after ``operation``, or None if it did not go so."""
        match operation.does:
            case Get():
                return (state,) if operation.output == state else None
            case Put(_, text):
                return (text,)
            case Append(_, text):
                return (state + text,)

    def only_reads(self, operation: Operation[TextsInput]) -> bool:
        """Whether it is a read."""
        return isinstance(operation.does, Get)


class Add(msgspec.Struct, frozen=True):
    """Add a record to the end of a queue; return its offset."""


class End(msgspec.Struct, frozen=True):
    """Return the offset that the next record of a queue gets."""


class Queue:
    """A queue of which only the end counts: records get offsets without gaps."""

    initial: int = 0

    def parts(
        self, history: Sequence[Operation[Add | End]]
    ) -> Iterable[Sequence[Operation[Add | End]]]:
        """One queue is one part."""
        return [history]

    def apply(self, state: int, operation: Operation[Add | End]) -> tuple[int] | None:
        """Return the end after ``operation``, or None if it did not go so.

        Of a record without an answer it is known where it was found later: that is its output.
        """
        if operation.output != state:
            return None
        return (state + 1,) if isinstance(operation.does, Add) else (state,)

    def only_reads(self, operation: Operation[Add | End]) -> bool:
        """Whether it is a look at the end."""
        return isinstance(operation.does, End)


T = TypeVar("T")


def by_key(keyed: Iterable[tuple[str, T]]) -> list[list[T]]:
    """Group values by key, in the order in which keys come up."""
    parts: dict[str, list[T]] = {}
    for key, value in keyed:
        parts.setdefault(key, []).append(value)
    return list(parts.values())
