"""Rows of state as replicas have them and as clients are shown them, against the log."""

from collections.abc import Mapping

import pytest

from chaos.check.kept_rows import KeptRows
from chaos.check.violation import Violation
from raftlog.base.ids import NodeId

N1 = NodeId("n1")


def rows() -> KeptRows[str, int]:
    """a: 1 from entry 5 on, 2 from 8 on, gone at 12; b: 7 from 8 on."""
    kept: KeptRows[str, int] = KeptRows("offset")
    kept.put(5, "a", 1)
    kept.put(8, "a", 9)
    kept.put(8, "a", 2)
    kept.put(8, "b", 7)
    kept.gone(12, "a")
    kept.gone(13, "never there")
    return kept


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (4, {}),
        *((each, {"a": 1}) for each in (5, 7)),
        *((each, {"a": 2, "b": 7}) for each in (8, 11)),
        *((each, {"b": 7}) for each in (12, 99)),
    ],
)
def test_each_replica_has_the_rows_of_what_it_has_applied(
    index: int, expected: Mapping[str, int]
) -> None:
    """Also one that is behind, or was given a snapshot."""
    rows().check(N1, index, expected)
    with pytest.raises(Violation, match=f"kept_rows: n1 has applied {index}: offset b is 6"):
        rows().check(N1, index, {**expected, "b": 6})


@pytest.mark.parametrize(
    ("index", "found", "why"),
    [
        (8, {"b": 7}, "offset a is None, and the log says 2"),
        (8, {"a": 1, "b": 7}, "offset a is 1, and the log says 2"),
        (12, {"a": 2, "b": 7}, "offset a is 2, and the log says None"),
        (7, {"a": 1, "b": 7}, "offset b is 7, and the log says None"),
    ],
)
def test_what_was_lost_kept_or_changed_is_seen(
    index: int, found: Mapping[str, int], why: str
) -> None:
    with pytest.raises(Violation, match=why):
        rows().check(N1, index, found)


def test_a_look_shows_a_moment_since_it_was_asked_for() -> None:
    kept = rows()
    for floor, told in ((0, None), (4, 1), (5, 1), (7, 2), (11, 2), (11, None), (40, None)):
        kept.told("a", floor, told)
    kept.told("never there", 3, None)


@pytest.mark.parametrize(("floor", "told"), [(8, 1), (12, 2), (5, 9), (5, 3), (99, 2)])
def test_a_look_at_what_is_over_is_seen(floor: int, told: int) -> None:
    with pytest.raises(Violation, match=f"offset a is told as {told}; since {floor} it was"):
        rows().told("a", floor, told)
