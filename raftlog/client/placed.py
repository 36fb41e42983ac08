"""What a message is known by, where it is noted that it was processed."""

from typing import Final, Protocol

IDENTITY_CHARACTERS_MAX: Final = 255


class Placed(Protocol):
    """A message as it was delivered, by a consumer of either style."""

    @property
    def topic(self) -> str:
        """Its topic."""

    @property
    def queue(self) -> int:
        """Its queue in the topic."""

    @property
    def offset(self) -> int:
        """Its offset in the queue."""

    @property
    def timestamp_ms(self) -> int:
        """Its time."""


def identity_of(message: Placed, identity: str | None) -> str:
    """Return what a message is known by: ``identity``, or else its place.

    Raises:
        ValueError: The identity has more than 255 characters.
    """
    name = place_of(message) if identity is None else identity
    if len(name) > IDENTITY_CHARACTERS_MAX:
        raise ValueError(
            f"an identity of {len(name)} characters; {IDENTITY_CHARACTERS_MAX} at most"
        )
    return name


def place_of(message: Placed) -> str:
    """Return the place of a message in words.

    The time is in it because a topic that is deleted and made again begins at offset 0.
    """
    return f"{message.topic}/{message.queue}@{message.offset}#{message.timestamp_ms}"
