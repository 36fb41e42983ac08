"""Types of messages, by how each is sent: what a topic may be told to take.

=================  ===========================================================
``normal``         sent, perhaps with a key
``fifo``           sent with a key: one of these is a normal one, too
``delayed``        sent to be visible later
``transactional``  a half message, or one of an atomic transaction
=================  ===========================================================

A FIFO message is told by the hash of its key in its batch's record table (``wire.record_table``),
and not by the key itself, which nobody on the way looks at (ruling 11).
"""

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Final

from raftlog.base.errors import BadRequest


class MessageType(StrEnum):
    """How a message was sent. The order of the members is that of their bits."""

    NORMAL = "normal"
    FIFO = "fifo"
    DELAYED = "delayed"
    TRANSACTIONAL = "transactional"

    @property
    def bit(self) -> int:
        """It alone, as a number."""
        return _BITS[self]


_BITS: Final = {kind: 1 << place for place, kind in enumerate(MessageType)}
ANY: Final = "any"
"""All of them, in words."""
EVERY_BIT: Final = (1 << len(MessageType)) - 1

TypesLike = str | Collection[str]
"""Types as they are given: a collection of them, or words with commas between; "any": all."""


def bits_of(types: Iterable[MessageType]) -> int:
    """Return types as a number, one bit each."""
    return sum(kind.bit for kind in frozenset(types))


def types_of(bits: int) -> tuple[MessageType, ...]:
    """Return the types that a number says, in their order."""
    return tuple(kind for kind in MessageType if bits & kind.bit)


def read_types(given: TypesLike) -> frozenset[MessageType]:
    """Return the types that a user means.

    Raises:
        BadRequest: One is none of them, or there are none at all.
    """
    words = given.split(",") if isinstance(given, str) else given
    found: set[MessageType] = set()
    for word in words:
        name = str(word).strip()
        if name == ANY:
            found.update(MessageType)
            continue
        try:
            found.add(MessageType(name))
        except ValueError:
            raise BadRequest(
                f"{name!r} is no type of messages; there are {', '.join(MessageType)}, and {ANY}"
            ) from None
    if not found:
        raise BadRequest("a topic takes messages of one type at least; see writable, else")
    return frozenset(found)


def show_types(types: Collection[str]) -> str:
    """Return types in words, in their order; all of them as "any"."""
    if len(types) == len(MessageType):
        return ANY
    return ",".join(kind for kind in MessageType if kind in types)
