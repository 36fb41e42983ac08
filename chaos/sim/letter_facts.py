"""What the committed log says about dead letters that are sent again."""

from collections.abc import Callable, Container
from typing import Final

import msgspec

from chaos.check.lease_model import Place
from chaos.check.letters_resent import (
    Content,
    Origin,
    check_content,
    check_copy,
    check_finished,
    check_mark,
    check_origin,
)
from raftlog.base.ids import Offset
from raftlog.client.dead_letters import RESENT, letter_of
from raftlog.client.receipts import Message
from raftlog.wire.batch import Record


class Letter(msgspec.Struct):
    """One letter."""

    group: str
    content: Content
    topic: str
    """Where it is to be sent."""
    copies: list[Place]


class LetterFacts:
    """The letters of one run. ``topic_of``: of a queue that is there."""

    def __init__(self, topic_of: Callable[[int], str], deleted: Container[int]) -> None:
        self.letters: Final[dict[Place, Letter]] = {}
        self.ids: Final[dict[str, Place]] = {}
        """With which ids letters are sent again."""
        self._topic_of: Final = topic_of
        self._deleted: Final = deleted

    def queues_of(self, group: str) -> set[int]:
        """Return where letters of a group lie."""
        return {queue for (queue, _), letter in self.letters.items() if letter.group == group}

    def stored(self, at: Place, record: Record, was: Record, origin: Origin) -> None:
        """Take in that a letter of the record ``was`` is stored.

        Raises:
            Violation: It is another message, or tells of another one.
        """
        told = letter_of(message_of(at[1], record), "", is_resent=False)
        content = _content_of(was)
        check_content(at, "the letter", content, _content_of(told.message))
        said = Origin(told.group, told.topic, told.queue, told.offset, told.attempts)
        check_origin(at, origin, said)
        self.letters[at] = Letter(origin.group, content, origin.topic, [])

    def sends(self, at: Place, id_: str) -> None:
        """Take in that somebody is about to send a letter again, with this id."""
        self.ids.setdefault(id_, at)

    def redirected(self, at: Place, topic: str) -> None:
        """Take in that somebody was told that a letter's topic is gone, and names another."""
        self.letters[at].topic = topic

    def sent_again(self, queue: int, offset: int, record: Record) -> None:
        """Take in that a copy of a letter is stored.

        Raises:
            Violation: It is none, or is there already, or in another topic.
        """
        assert record.id is not None, f"{record} is no copy of a letter"
        place = self.ids[record.id]
        letter = self.letters[place]
        copy = ((queue, offset), self._topic_of(queue))
        check_copy(place, letter.topic, copy, letter.copies, self._deleted)
        marks = [value for name, value in record.headers if name == RESENT]
        check_mark(place, marks)
        check_content(place, "the copy", letter.content, _content_of(record))
        letter.copies.append((queue, offset))

    def acked(self, _group: str, place: Place) -> None:
        """Take in that a message was acknowledged: a letter, if it is one, as sent again.

        Raises:
            Violation: It is lost.
        """
        letter = self.letters.get(place)
        if letter is not None:
            check_finished(place, letter.copies)


def message_of(offset: int, record: Record) -> Message:
    """Return a record of a dead-letter topic as a client has it."""
    return Message(
        *("", 0, Offset(offset), record.key, record.value),
        *(record.headers, record.timestamp_ms, record.tag, record.id),
    )


def _content_of(record: Record | Message) -> Content:
    headers = tuple(header for header in record.headers if header[0] != RESENT)
    return Content(record.value, record.key, headers, record.timestamp_ms, record.tag)
