"""Errors of topics. Part of the tree in ``errors``."""

from collections.abc import Sequence
from typing import Final

from raftlog.base.error_root import Refused


class TopicNotFound(Refused):
    """No topic of this name.

    Attributes:
        topic: The name that was asked for.
        nearest: The existing name that is most like it, if one is.
    """

    code = "topic_not_found"
    hint = "correct the name, or create the topic: raftlog topic create"

    def __init__(self, topic: str, nearest: str = "") -> None:
        guess = f"; did you mean {nearest!r}?" if nearest else ""
        super().__init__(f"there is no topic {topic!r}{guess}")
        self.topic: Final = topic
        self.nearest: Final = nearest


class TopicExists(Refused):
    """A topic of this name exists already."""

    code = "topic_exists"
    hint = "use it, alter it, or choose another name"


class NotPermitted(Refused):
    """The topic is not readable, or not writable, by its settings."""

    code = "not_permitted"
    hint = "change the topic's settings: raftlog topic alter"


class WrongMessageType(Refused):
    """The topic does not take messages of this type, by its settings.

    Attributes:
        topic: Its name.
        takes: The types that it takes.
        came: The type that came.
    """

    code = "wrong_message_type"
    hint = "send what the topic takes (a FIFO message has a key), or: raftlog topic alter --types"

    def __init__(self, topic: str, takes: Sequence[str], came: str) -> None:
        also = "; a FIFO message has a key" if "fifo" in takes and came == "normal" else ""
        super().__init__(
            f"topic {topic!r} takes {' and '.join(takes)} messages, and a {came} one came{also}"
        )
        self.topic: Final = topic
        self.takes: Final = tuple(takes)
        self.came: Final = came
