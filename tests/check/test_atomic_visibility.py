"""All parts or none; each input exactly once: on histories made by hand."""

import pytest

from chaos.check.atomic_visibility import AtomicVisibility, Intent
from chaos.check.violation import Violation

READ = ("billing", 1)


@pytest.fixture
def seen() -> AtomicVisibility:
    """One transaction of two records is about to be sent: it has read 3 and 4."""
    seen = AtomicVisibility()
    seen.begins(Intent(frozenset({b"a", b"b"}), READ, 3, 5))
    return seen


def test_all_of_it_from_where_the_last_one_ended(seen: AtomicVisibility) -> None:
    """And the next one behind it."""
    seen.stored([b"a", b"b"], {READ: 5}, {READ: 3}, 0)
    seen.begins(Intent(frozenset({b"c"}), READ, 5, 6))
    seen.stored([b"c"], {READ: 6}, {READ: 5}, 0)


def test_what_retention_has_passed_need_not_be_read(seen: AtomicVisibility) -> None:
    """The queue begins at 3 now."""
    seen.stored([b"a", b"b"], {READ: 5}, {READ: 1}, 3)


def test_other_records_are_stored_alone(seen: AtomicVisibility) -> None:
    """Only those of transactions are not."""
    seen.stored_alone(b"x")
    assert seen.is_part(b"a")
    assert not seen.is_part(b"x")
    with pytest.raises(Violation, match="without the rest"):
        seen.stored_alone(b"b")


BAD = {
    "a part": ([b"a"], {READ: 5}, 3, 0, "together"),
    "something else beside it": ([b"a", b"b", b"x"], {READ: 5}, 3, 0, "together"),
    "nobody's": ([b"x"], {READ: 5}, 3, 0, "together"),
    "nothing": ([], {READ: 5}, 3, 0, "together"),
    "without its offset": ([b"a", b"b"], {}, 3, 0, "commits"),
    "with another offset": ([b"a", b"b"], {READ: 4}, 3, 0, "commits"),
    "inputs used before": ([b"a", b"b"], {READ: 5}, 4, 0, "uses again"),
    "inputs left out": ([b"a", b"b"], {READ: 5}, 2, 2, "leaves out"),
}


@pytest.mark.parametrize("case", BAD)
def test_anything_else_is_a_violation(seen: AtomicVisibility, case: str) -> None:
    """Each of these is one thing that a store might do wrong."""
    values, offsets, committed, start, says = BAD[case]
    with pytest.raises(Violation, match=says):
        seen.stored(values, offsets, {READ: committed}, start)


def test_the_same_one_twice_is_a_violation(seen: AtomicVisibility) -> None:
    """Sent again, it was stored again."""
    seen.stored([b"a", b"b"], {READ: 5}, {READ: 3}, 0)
    with pytest.raises(Violation, match="twice"):
        seen.stored([b"a", b"b"], {READ: 5}, {READ: 3}, 0)
