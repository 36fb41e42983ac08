"""Topics: names for queues, and what holds for them.

A queue has a number of its own for ever, given in apply; a topic that is
deleted and created again gets other queues, so whoever still believes in the
old ones is refused instead of reading something else.
"""

from typing import Final

import msgspec

DEFAULT_QUEUES: Final = 4
DEFAULT_RETENTION_MS: Final = 72 * 3600 * 1000
FOR_EVER: Final = 0
NO_BOUND: Final = 0


class TopicSettings(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What holds for a topic."""

    queues: int = DEFAULT_QUEUES
    retention_ms: int = DEFAULT_RETENTION_MS
    """A record may be forgotten when it is older than this, in log time; 0: never."""
    retention_bytes: int = NO_BOUND
    """The oldest records of a queue may be forgotten beyond so many bytes; 0: never."""
    readable: bool = True
    writable: bool = True


class TopicChanges(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Settings to change; None leaves one as it is (or takes the default, in a new topic)."""

    queues: int | None = None
    retention_ms: int | None = None
    retention_bytes: int | None = None
    readable: bool | None = None
    writable: bool | None = None


# -- commands


class CreateTopic(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Make a topic with new, empty queues. Outcome: ``Topic``."""

    name: str
    changes: TopicChanges


class AlterTopic(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Change settings; queues can only be added. Outcome: ``Topic``."""

    name: str
    changes: TopicChanges


class DeleteTopic(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Forget a topic and its queues. Outcome: ``Topic`` as it was."""

    name: str


class MoveStart(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Forget a queue's records below ``start``; never back, never beyond the end.

    Proposed by the leader when retention says so (ruling 29). Outcome: ``StartMoved``.
    """

    queue: int
    start: int


# -- outcomes


class Topic(msgspec.Struct, frozen=True, array_like=True):
    """A topic: its name, its settings, and its queues in the order of their places."""

    name: str
    settings: TopicSettings
    queues: tuple[int, ...]


class StartMoved(msgspec.Struct, frozen=True, gc=False):
    """Where the queue begins now."""

    start: int
