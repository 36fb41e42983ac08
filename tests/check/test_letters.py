"""The invariant of dead letters that are sent again sees what it is for."""

from typing import Any

import pytest

from chaos.check.letters_resent import (
    Content,
    Origin,
    check_content,
    check_copy,
    check_finished,
    check_mark,
    check_origin,
)
from chaos.check.violation import Violation

LETTER = (9, 4)
SENT = Content(b"v", b"k", (("a", b"1"),), 5, "t")
ORIGIN = Origin("work", "orders", 1, 70, 3)


@pytest.mark.parametrize(
    "lost",
    [
        {"value": None},
        {"key": None},
        {"headers": ()},
        {"headers": (("a", b"1"), ("a", b"1"))},
        {"timestamp_ms": 6},
        {"tag": None},
    ],
)
def test_a_letter_is_what_was_sent(lost: dict[str, Any]) -> None:
    """Whoever handles it again has all that the first one had."""
    check_content(LETTER, "the letter", SENT, SENT)
    with pytest.raises(Violation, match="letters_resent: the letter"):
        check_content(LETTER, "the letter", SENT, SENT._replace(**lost))


@pytest.mark.parametrize("field", Origin._fields)
def test_a_letter_tells_where_it_came_from(field: str) -> None:
    """It is sent there again."""
    check_origin(LETTER, ORIGIN, ORIGIN)
    other = ORIGIN._replace(**{field: type(getattr(ORIGIN, field))(8)})
    with pytest.raises(Violation, match="tells"):
        check_origin(LETTER, ORIGIN, other)


def test_a_letter_is_stored_once_where_it_came_from() -> None:
    """Again only if what was stored went with its topic."""
    copy = ((3, 80), "orders")
    check_copy(LETTER, "orders", copy, (), ())
    check_copy(LETTER, "orders", copy, ((2, 80),), {2})
    with pytest.raises(Violation, match="was at"):
        check_copy(LETTER, "orders", copy, ((2, 80),), {7})
    with pytest.raises(Violation, match="not to"):
        check_copy(LETTER, "events", copy, (), ())


def test_what_is_marked_as_sent_again_was_stored() -> None:
    """Else it is lost: neither a letter nor a message."""
    check_finished(LETTER, [(3, 80)])
    with pytest.raises(Violation, match="never was stored"):
        check_finished(LETTER, [])


def test_a_copy_names_its_letter() -> None:
    """Once: of the last one."""
    check_mark(LETTER, [b"4"])
    for marks in ([], [b"5"], [b"3", b"4"]):
        with pytest.raises(Violation, match="says that it is of"):
            check_mark(LETTER, marks)
