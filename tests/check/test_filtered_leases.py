"""The invariant of groups with a filter sees what it is for."""

import pytest

from chaos.check.filtered_leases import GroupWishes, anything, check_matches, check_wanted
from chaos.check.violation import Violation
from raftlog.wire.batch import Record

RECORDS = {(1, at): Record(b"v", tag=tag) for at, tag in enumerate("abba")}


def is_a(record: Record) -> bool:
    return record.tag == "a"


def is_b(record: Record) -> bool:
    return record.tag == "b"


def test_what_is_right_passes() -> None:
    """Also what is told of a version that nobody knows, or of one before."""
    wishes = GroupWishes(RECORDS, {1: is_a}, 1)
    check_matches("g", wishes, 1, [(1, 0, 4, (0, 3)), (1, 1, 3, ())])
    wishes.change(is_b)
    check_matches("g", wishes, 2, [(1, 0, 3, (1, 2))])
    check_matches("g", wishes, 1, [(1, 0, 1, (0,))])
    check_matches("g", wishes, 9, [(1, 0, 1, ())])
    check_wanted("g", wishes, (1, 1), fifo=False)
    check_wanted("g", wishes, (1, 0), fifo=True)
    assert not wishes.wants((1, 0)), "it may have been passed over"


@pytest.mark.parametrize("told", [(), (0,), (0, 1, 3), (3, 0)])
def test_what_is_told_wrongly_is_seen(told: tuple[int, ...]) -> None:
    """A match left out, one too many."""
    with pytest.raises(Violation, match="filtered_leases"):
        check_matches("g", GroupWishes(RECORDS, {1: is_a}, 1), 1, [(1, 0, 4, told)])


def test_what_is_leased_and_not_wanted_is_seen() -> None:
    """By the filter that holds; the same one said again is no other."""
    wishes = GroupWishes(RECORDS, {1: is_b}, 1)
    wishes.change(is_b)
    assert wishes.version == 1
    wishes.change(is_a)
    with pytest.raises(Violation, match="does not want"):
        check_wanted("g", wishes, (1, 1), fifo=False)


def test_after_a_seek_only_what_is_wanted_since_excuses() -> None:
    """What an older filter left out comes now; what lies before was passed over all the same."""
    wishes = GroupWishes(RECORDS, {1: is_a}, 1)
    wishes.change(anything)
    assert [wishes.wants((1, at)) for at in range(4)] == [True, False, False, True]
    wishes.seeks(1, 2)
    assert [wishes.wants((1, at)) for at in range(4)] == [True, False, True, True]
    wishes.change(is_a)
    wishes.seeks(1, 3)
    assert [wishes.wants((1, at)) for at in range(4)] == [True, False, False, True]
    wishes.change(anything)
    wishes.seeks(1, 0)
    assert [wishes.wants((1, at)) for at in range(4)] == [True] * 4
